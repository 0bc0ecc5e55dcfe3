// The colours of classes of points (ASPRS, LAS 1.4 R15, table 17), as this server gives them to tiles as well. Knows no Cesium.

export const CLASS_COLOURS = {
  0: "#aaaaaa", 1: "#bebebe", 2: "#a67c52", 3: "#98cc66", 4: "#5ca844", 5: "#227832", 6: "#dc6048", 7: "#ff00ff", 8: "#d6c478", 9: "#3a7cd6",
  10: "#785a8c", 11: "#606068", 12: "#e6d25a", 13: "#f0c83c", 14: "#fadc50", 15: "#6e4628", 16: "#f0aa3c", 17: "#966eaa", 18: "#ff3cc8", 26: "#c88cbe",
};
export const OTHER_CLASS = "#cdaaeb";
export const colourOfClass = (code) => CLASS_COLOURS[code] ?? OTHER_CLASS;
