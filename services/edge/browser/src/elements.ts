// Elements and icons of the inbox element, made without markup that is parsed.

const SVG = "http://www.w3.org/2000/svg";

const ICONS = {
  bell: "M6 9a6 6 0 0 1 12 0c0 6 2.5 7 2.5 8h-17c0-1 2.5-2 2.5-8M10 20.5a2.2 2.2 0 0 0 4 0",
  close: "M6 6l12 12M18 6L6 18",
  archive: "M4 4h16v4H4zM5.5 8v12h13V8M10 12h4",
  unarchive: "M4 4h16v4H4zM5.5 8v12h13V8M12 17v-6M9.5 13.5L12 11l2.5 2.5",
  info: "M12 3a9 9 0 1 0 0 18a9 9 0 0 0 0-18M12 11v5M12 7.8v.1",
  success: "M12 3a9 9 0 1 0 0 18a9 9 0 0 0 0-18M8 12.2l2.8 2.8L16 9.5",
  warning: "M12 4L2.8 20h18.4zM12 10v4.5M12 17.2v.1",
  error: "M12 3a9 9 0 1 0 0 18a9 9 0 0 0 0-18M9 9l6 6M15 9l-6 6",
};

export function create<Name extends keyof HTMLElementTagNameMap>(
  name: Name,
  attributes: Record<string, string> = {},
  text?: string,
): HTMLElementTagNameMap[Name] {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

export function icon(name: keyof typeof ICONS): SVGElement {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}
