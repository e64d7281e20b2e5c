// Elements, made without markup that is parsed: whatever an event says is text.

export const $ = (id) => document.getElementById(id);

export function element(tag, { text, ...attributes } = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  made.append(...children);
  return made;
}

export function button(text, className, onclick) {
  const made = element("button", { type: "button", class: className, text });
  made.addEventListener("click", onclick);
  return made;
}

/** The console's page of the event at a place: its journey, step by step. */
export const consolePage = (cursor) => `/console/events/${cursor.split(".").pop()}`;

export const positionOf = (cursor) => `#${cursor.split(".").pop()}`;
