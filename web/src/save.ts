// Saving a picture as SVG, and the data behind it as JSON.

function download(name: string, type: string, content: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

export function saveJSON(name: string, value: unknown): void {
  download(`${name}.json`, "application/json", JSON.stringify(value, null, 2));
}

// The properties that style.css may give to parts of a picture. A saved picture has no style sheet.
const properties = [
  "fill",
  "fill-opacity",
  "stroke",
  "stroke-width",
  "stroke-dasharray",
  "opacity",
  "font-family",
  "font-size",
  "font-weight",
  "text-anchor",
  "dominant-baseline",
  "text-decoration",
];

/** Saves a picture of the page as a file that looks the same without the page. */
export function saveSVG(name: string, picture: SVGSVGElement): void {
  const copy = picture.cloneNode(true) as SVGSVGElement;
  const originals = [picture, ...picture.querySelectorAll("*")];
  const copies = [copy, ...copy.querySelectorAll("*")];
  originals.forEach((original, i) => {
    const style = getComputedStyle(original);
    const target = copies[i]!;
    for (const property of properties) target.setAttribute(property, style.getPropertyValue(property));
    for (const attribute of ["class", "style", "tabindex", "role"]) target.removeAttribute(attribute);
  });
  const { width, height } = picture.getBoundingClientRect();
  copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  if (!copy.hasAttribute("viewBox")) copy.setAttribute("viewBox", `0 0 ${width} ${height}`);
  copy.style.background = getComputedStyle(document.body).backgroundColor;
  download(`${name}.svg`, "image/svg+xml", new XMLSerializer().serializeToString(copy));
}

/** Saves a picture that was drawn for saving: it has all its properties as attributes. */
export function saveDrawing(name: string, picture: SVGSVGElement): void {
  picture.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  download(`${name}.svg`, "image/svg+xml", new XMLSerializer().serializeToString(picture));
}
