// A QR code as an image in SVG; the code itself is made by vendor/qr.js.

import { svg } from "./dom.js";
import { encode } from "./vendor/qr.js";

export function qrCode(text) {
  const { data, size } = encode(text, { ecc: "M", border: 2 });
  const cells = data.flatMap((row, y) => row.map((dark, x) => (dark ? `M${x} ${y}h1v1h-1z` : "")));
  return svg(
    "svg",
    { viewBox: `0 0 ${size} ${size}`, role: "img", "aria-label": `QR code: ${text}`, "shape-rendering": "crispEdges" },
    svg("rect", { width: size, height: size, fill: "#fff" }),
    svg("path", { d: cells.join(""), fill: "#000" }),
  );
}
