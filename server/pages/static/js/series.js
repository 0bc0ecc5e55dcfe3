// Readings of one location as a chart: CoverageJSON of OGC API - EDR, drawn by ECharts. A missing reading stays a gap.

import * as echarts from "echarts";
import { colour, getJSON, message, settings } from "./page.js";

const DAY = 24 * 3600 * 1000;
const MOST_DAYS = 366;
const day = (time) => new Date(time).toISOString().slice(0, 10);
const nameOf = (feature) => feature.properties?.title ?? feature.properties?.name ?? feature.properties?.label ?? String(feature.id);

/** [time, value] pairs of one parameter; null where there is no reading, also where a step of the interval is absent. */
export function points(coverage, parameter) {
  const times = coverage.domain.axes.t.values.map((time) => Date.parse(time));
  const { values } = coverage.ranges[parameter];
  const steps = times.slice(1).map((time, index) => time - times[index]).filter((step) => step > 0);
  const usual = steps.length ? Math.min(...steps) : 0;
  const found = [];
  times.forEach((time, index) => {
    if (index && usual && time - times[index - 1] > usual * 1.5) found.push([times[index - 1] + usual, null]);
    found.push([time, values[index]]);
  });
  return found;
}

export class SeriesChart {
  constructor(series, locations) {
    this.series = series;
    this.locations = locations;
    this.form = document.getElementById("series-form");
    this.summary = document.getElementById("series-summary");
    this.element = document.getElementById("series-chart");
    this.chart = echarts.init(this.element, null, { renderer: "canvas" });
    this.onSelect = () => {};
    const select = document.getElementById("series-location");
    select.replaceChildren(...locations.map((feature, index) => new Option(nameOf(feature), String(index))));
    this.setDates();
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.show();
    });
    select.addEventListener("change", () => {
      this.onSelect(Number(select.value));
      this.show();
    });
    document.getElementById("series-parameter")?.addEventListener("change", () => this.show());
    new ResizeObserver(() => this.chart.resize()).observe(this.element);
    window.chengtuChart = this.chart;
  }

  /** The last fortnight there is. */
  setDates() {
    const end = this.series.end ? Date.parse(this.series.end) : Date.now();
    const start = this.series.start ? Date.parse(this.series.start) : end - 14 * DAY;
    const { from, to } = this.form.elements;
    from.value = day(Math.max(start, end - 14 * DAY));
    to.value = day(end);
    if (this.series.start) from.min = to.min = day(start);
    if (this.series.end) from.max = to.max = day(end);
  }

  select(index) {
    this.form.elements.location.value = String(index);
    this.onSelect(index);
    this.show();
  }

  address() {
    const { location: select, from, to } = this.form.elements;
    const feature = this.locations[Number(select.value)];
    const first = Date.parse(from.value);
    const last = Math.min(Math.max(Date.parse(to.value), first), first + MOST_DAYS * DAY);
    const path = `${this.series.locations}/${encodeURIComponent(feature.id)}`;
    const address = new URL(path, window.location.origin);
    address.searchParams.set("datetime", `${day(first)}T00:00:00Z/${day(last)}T23:59:59Z`);
    address.searchParams.set("f", "json");
    return { address, feature };
  }

  async show() {
    if (!this.locations.length) {
      this.summary.textContent = message("series_none");
      return;
    }
    const { address, feature } = this.address();
    const wanted = (this.wanted = Symbol("request"));
    try {
      const answer = await getJSON(address);
      if (wanted !== this.wanted) return; // a later choice is already on its way
      this.draw(answer.coverages?.[0] ?? answer, answer, feature);
    } catch (error) {
      this.chart.clear();
      this.summary.textContent = message("series_failed");
      console.warn(error);
    }
  }

  draw(coverage, answer, feature) {
    const names = Object.keys(coverage.ranges ?? {});
    const chosen = document.getElementById("series-parameter")?.value;
    const parameter = names.includes(chosen) ? chosen : names[0];
    const data = parameter ? points(coverage, parameter) : [];
    const values = data.map(([, value]) => value).filter((value) => value !== null && value !== undefined);
    if (!values.length) {
      this.chart.clear();
      this.summary.textContent = message("series_none");
      return;
    }
    const number = new Intl.NumberFormat(settings.language);
    const highest = number.format(values.reduce((a, b) => Math.max(a, b)));
    const gaps = number.format(data.length - values.length);
    this.summary.textContent = message("series_summary", { count: number.format(values.length), gaps, highest });
    const described = (coverage.parameters ?? answer.parameters ?? {})[parameter];
    const title = described?.observedProperty?.label;
    const label = title?.[settings.language] ?? title?.en ?? Object.values(title ?? {})[0] ?? parameter;
    this.element.setAttribute("aria-label", `${nameOf(feature)}: ${label}`);
    this.chart.setOption(option(data, label), { notMerge: true });
  }
}

function option(data, label) {
  const ink = colour("muted");
  const line = colour("line");
  return {
    animation: false,
    textStyle: { fontFamily: getComputedStyle(document.body).fontFamily },
    grid: { left: 56, right: 20, top: 36, bottom: 64 },
    // Text mode: the library's HTML tooltip needs inline styles, which the page's policy forbids.
    tooltip: { trigger: "axis", renderMode: "richText", confine: true },
    xAxis: { type: "time", axisLabel: { color: ink, hideOverlap: true }, axisLine: { lineStyle: { color: line } } },
    yAxis: { type: "value", name: label, nameTextStyle: { color: ink, align: "left" }, axisLabel: { color: ink }, splitLine: { lineStyle: { color: line } } },
    dataZoom: [{ type: "inside", zoomOnMouseWheel: "ctrl" }, { type: "slider", height: 22, bottom: 12, borderColor: line }],
    series: [{ name: label, type: "line", data, showSymbol: false, connectNulls: false, lineStyle: { width: 1.6 }, areaStyle: { opacity: 0.12 }, color: colour("map-data") }],
  };
}
