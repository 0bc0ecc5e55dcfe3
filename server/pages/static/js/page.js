// What every page with scripts shares: the texts of the page's language, its settings, and the copy buttons.

function readBlock(id) {
  const element = document.getElementById(id);
  return element ? JSON.parse(element.textContent) : null;
}

export const settings = readBlock("browser-settings");
export const mapSettings = readBlock("map-settings");

/** The text of `key` in the page's language, with `{name}` places filled. */
export function message(key, values = {}) {
  const text = settings.messages[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (place, name) => (name in values ? String(values[name]) : place));
}

/** The texts of the map library, under its own keys. */
export function mapTexts() {
  const prefix = "map.";
  return Object.fromEntries(
    Object.entries(settings.messages)
      .filter(([key]) => key.startsWith(prefix))
      .map(([key, text]) => [key.slice(prefix.length), text]),
  );
}

/** The value of a CSS custom property as the page shows it now. */
export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/** GET a JSON document; throws an Error that carries the server's own words. */
export async function getJSON(address) {
  const response = await fetch(address, { headers: { Accept: "application/json" } });
  if (!response.ok) {
    throw new Error(`${response.status} ${(await response.text()).slice(0, 300)}`);
  }
  return response.json();
}

function selectText(element) {
  const range = document.createRange();
  range.selectNodeContents(element);
  const selection = getSelection();
  selection.removeAllRanges();
  selection.addRange(range);
}

async function copyAddress(button) {
  const before = button.textContent;
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.textContent = message("copied");
  } catch {
    // The clipboard is closed to pages without TLS: leave the address selected for Ctrl+C.
    selectText(button.parentElement.querySelector(".address, pre"));
    button.textContent = message("copy_failed");
  }
  setTimeout(() => (button.textContent = before), 2500);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest?.("[data-copy]");
  if (button) copyAddress(button);
});
