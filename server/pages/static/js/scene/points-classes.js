// Classes of points by ASPRS (LAS 1.4 R15, table 17) and the colours that this server gives them. Knows no Cesium.

export const CLASS_COLOURS = {
  0: "#aaaaaa", 1: "#bebebe", 2: "#a67c52", 3: "#98cc66", 4: "#5ca844", 5: "#227832", 6: "#dc6048", 7: "#ff00ff", 8: "#d6c478", 9: "#3a7cd6",
  10: "#785a8c", 11: "#606068", 12: "#e6d25a", 13: "#f0c83c", 14: "#fadc50", 15: "#6e4628", 16: "#f0aa3c", 17: "#966eaa", 18: "#ff3cc8", 26: "#c88cbe",
};
export const OTHER_CLASS = "#cdaaeb";
const NAMED = 22; // codes that ASPRS has named; 23 to 63 are reserved, from 64 on they are the user's
const USERS = 64;

export const colourOfClass = (code) => CLASS_COLOURS[code] ?? OTHER_CLASS;

/** The name of a class; `text` gives the words of the page's language. */
export function nameOfClass(code, text) {
  if (code <= NAMED) return text(`class_${code}`);
  return code < USERS ? text("class_reserved") : text("class_users");
}
