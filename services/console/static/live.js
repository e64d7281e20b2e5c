// The live islands: pieces of HTML that the console has drawn, put in their places.
// A stream that breaks is opened again by the browser; one that is refused is not, so we do.

const AGAIN_MS = 5000;

function listen(address, put, told = () => {}) {
  let source, timer;
  const open = () => {
    source = new EventSource(address);
    source.onopen = () => told("live");
    source.onmessage = (event) => put(event.data);
    // The session is over: the page, loaded again, asks to sign in.
    source.addEventListener("over", () => { source.close(); location.reload(); });
    source.onerror = () => {
      told("waiting");
      if (source.readyState === EventSource.CLOSED) timer = setTimeout(open, AGAIN_MS);
    };
  };
  open();
  return () => { clearTimeout(timer); source.close(); told(""); };
}

// A drawing would take the focus, and a button from under a finger: it waits until they have gone elsewhere.
const HELD = "button, input, select, textarea, a";

for (const island of document.querySelectorAll("[data-live]")) {
  let waiting = null;
  const isHeld = () => island.contains(document.activeElement) && document.activeElement.matches(HELD);
  const draw = () => {
    if (waiting === null || isHeld()) return;
    island.innerHTML = waiting;
    waiting = null;
  };
  island.addEventListener("focusout", () => setTimeout(draw));
  listen(
    island.dataset.live,
    (html) => { waiting = html; draw(); },
    (state) => { island.dataset.state = state; },
  );
}

const MOST_ROWS = 500;

for (const box of document.querySelectorAll("[data-follow]")) {
  const rows = document.getElementById(box.dataset.into);
  const state = box.parentElement.querySelector("[data-follow-state]");
  let stop = () => {};
  const put = (html) => {
    rows.insertAdjacentHTML("afterbegin", html);
    while (rows.children.length > MOST_ROWS) rows.lastElementChild.remove();
  };
  const changed = () => {
    stop();
    if (!box.checked) return;
    const address = new URL(box.dataset.follow, location);
    const newest = rows.querySelector("a[href]")?.getAttribute("href").split("/").pop();
    if (newest && Number(newest) > Number(address.searchParams.get("after"))) address.searchParams.set("after", newest);
    stop = listen(address, put, (word) => { state.textContent = word; });
  };
  box.addEventListener("change", changed);
  changed();
}
