// Lengths, areas and plane coordinates on the ellipsoid. Knows no Cesium: positions are [east, north, up] or degrees.

const AXIS = 6378137;
const FLATTENING = 1 / 298.257222101; // CGCS2000; GRS 80 has the same
const RADIAN = Math.PI / 180;

/** The area (m²) of a ring of [east, north, up] in metres as a map shows it, and in the plane that fits it best. */
export function ringAreas(ring) {
  const normal = [0, 0, 0];
  ring.forEach((a, i) => {
    const b = ring[(i + 1) % ring.length];
    normal[0] += (a[1] - b[1]) * (a[2] + b[2]);
    normal[1] += (a[2] - b[2]) * (a[0] + b[0]);
    normal[2] += (a[0] - b[0]) * (a[1] + b[1]);
  });
  return { horizontal: Math.abs(normal[2]) / 2, inPlane: Math.hypot(...normal) / 2 };
}

/** The EPSG code and central meridian of the CGCS2000 3-degree zone without zone number of a place; null outside China. */
export function chinaZone(longitude, latitude) {
  const meridian = 3 * Math.round(longitude / 3);
  if (meridian < 75 || meridian > 135 || latitude < 3 || latitude > 54) return null;
  return { meridian, epsg: 4534 + (meridian - 75) / 3 };
}

/** Gauss-Kruger easting and northing (m; false easting 500 km, scale 1) by Krueger's series to n^4, good to a millimetre. */
export function gaussKruger(longitude, latitude, meridian) {
  const n = FLATTENING / (2 - FLATTENING);
  const [n2, n3, n4] = [n ** 2, n ** 3, n ** 4];
  const radius = (AXIS / (1 + n)) * (1 + n2 / 4 + n4 / 64);
  const alpha = [
    n / 2 - (2 * n2) / 3 + (5 * n3) / 16 + (41 * n4) / 180,
    (13 * n2) / 48 - (3 * n3) / 5 + (557 * n4) / 1440,
    (61 * n3) / 240 - (103 * n4) / 140,
    (49561 * n4) / 161280,
  ];
  const e = Math.sqrt(FLATTENING * (2 - FLATTENING));
  const sine = Math.sin(latitude * RADIAN);
  const conformal = Math.sinh(Math.atanh(sine) - e * Math.atanh(e * sine));
  const turn = (longitude - meridian) * RADIAN;
  const xi = Math.atan2(conformal, Math.cos(turn));
  const eta = Math.asinh(Math.sin(turn) / Math.hypot(conformal, Math.cos(turn)));
  let [north, east] = [xi, eta];
  alpha.forEach((a, i) => {
    const k = 2 * (i + 1);
    north += a * Math.sin(k * xi) * Math.cosh(k * eta);
    east += a * Math.cos(k * xi) * Math.sinh(k * eta);
  });
  return { east: 500_000 + radius * east, north: radius * north };
}

/** The height of the sun (degrees) and its azimuth from north at a place and an instant (Date); good to a tenth of a degree. */
export function sunAt(longitude, latitude, date) {
  const days = date.getTime() / 86_400_000 - 10_957.5; // since 2000-01-01 12:00 UTC
  const anomaly = (357.529 + 0.98560028 * days) * RADIAN;
  const mean = 280.459 + 0.98564736 * days;
  const ecliptic = (mean + 1.915 * Math.sin(anomaly) + 0.02 * Math.sin(2 * anomaly)) * RADIAN;
  const tilt = (23.439 - 0.00000036 * days) * RADIAN;
  const ascension = Math.atan2(Math.cos(tilt) * Math.sin(ecliptic), Math.cos(ecliptic));
  const declination = Math.asin(Math.sin(tilt) * Math.sin(ecliptic));
  const sidereal = (280.46062 + 360.98564737 * days + longitude) * RADIAN;
  const hour = sidereal - ascension;
  const phi = latitude * RADIAN;
  const height = Math.asin(Math.sin(phi) * Math.sin(declination) + Math.cos(phi) * Math.cos(declination) * Math.cos(hour));
  const south = Math.atan2(Math.sin(hour), Math.cos(hour) * Math.sin(phi) - Math.tan(declination) * Math.cos(phi));
  return { height: height / RADIAN, azimuth: (south / RADIAN + 540) % 360 };
}
