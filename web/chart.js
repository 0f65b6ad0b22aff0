// A live chart of a stream: one line for each group, or, of one group or all together, how its readings are spread. Closed windows
// come by the watch; open ones, and what is regrouped, are asked for again.

import {ApiError, canQuantile, get, health, serverNow, streams, told} from "./api.js";
import {$, Table, fill, fillList, h, setText, show} from "./dom.js";
import * as f from "./format.js";
import {CHOSEN_MAX, Picker} from "./groups.js";
import {Picture} from "./picture.js";
import {replaceHash} from "./state.js";
import {Watch} from "./watch.js";

const POINTS_MAX = 5000, PAGE = 1000, POINTS_AUTO = 500;
const TAIL_MS = 4000, TAIL_LEAST_MS = 1000;
const WATCHED_GROUPS_MAX = 2000; // all of them together: with more, the watch would bring far more rows than are drawn
const PROVISIONAL_EVERY = 5;     // what is not watched may still change where it is provisional: looked at each so many times
const TABLE_WINDOWS = 40;
const WINDOWS = ["1s", "2s", "5s", "10s", "15s", "30s", "1m", "2m", "5m", "10m", "15m", "30m", "1h", "2h", "3h", "6h", "12h", "1d", "7d"];
const SPREAD = "spread";

let picker, picture, table, watch = null, tailTimer = 0, shown = false;
let conf = null;        // what is drawn: {stream, range, from, to, window, show, by, groups}
let series = [];        // [{group or null: all together, rows: Map(start ms -> row)}]
let dirtyFrom = null;   // windows that start here or later are asked for again
let loading = null;     // AbortController
let asked = null;       // conf as text, that series are of
let arrived = [];       // rows of the watch while all is loaded anew
let loadError = null, truncated = false, lastTailMs = 0, tails = 0;

// ---- what may be shown -------------------------------------------------------------------------------------------------------

const streamOf = () => streams.byName.get(conf.stream);
const has = (s, fn) => s.compute.includes(fn) || (/^p\d/.test(fn) && canQuantile(s));

// Of all that a stream computes what says most of its readings.
const mainFunction = (s) => canQuantile(s) ? "p50" : ["mean", "last", "max", "min", "first", "sum"].find((fn) => has(s, fn)) || s.compute[0];

// What a spread is drawn of: {line, inner: [from, to] or null, outer: the same}
function spreadOf(s) {
	return {line: mainFunction(s), inner: canQuantile(s) ? ["p50", "p99"] : null, outer: has(s, "min") && has(s, "max") ? ["min", "max"] : null};
}

function spreads(s) {
	const spread = spreadOf(s);
	return Boolean(spread.inner || spread.outer);
}

const isSpread = () => conf.show === SPREAD && conf.groups.length <= 1;

// The one function that lines of several groups are of.
function lineFunction(s) {
	if (conf.show !== SPREAD && has(s, conf.show)) return conf.show;
	return mainFunction(s);
}

function selected() {
	const s = streamOf(), fns = new Set();
	if (isSpread()) {
		const {line, inner, outer} = spreadOf(s);
		[line, ...(inner || []), ...(outer || [])].forEach((fn) => fns.add(fn));
	} else {
		fns.add(lineFunction(s));
	}
	if (has(s, "count")) fns.add("count");
	return [...fns];
}

const ownStep = (s) => f.parseDuration(s.every || s.window || s.slice);
const ownWindow = (s) => f.parseDuration(s.window || s.slice);

function coarser(s) {
	const own = ownWindow(s), slice = f.parseDuration(s.slice);
	return WINDOWS.filter((w) => f.parseDuration(w) > own && f.parseDuration(w) % slice === 0);
}

const rangeMs = () => f.parseDuration(conf.range);

// "" : the stream's own
function windowNow(s, spanMs) {
	if (conf.window !== "auto") return conf.window === s.window ? "" : conf.window;
	if (spanMs / ownStep(s) <= POINTS_AUTO) return "";
	return coarser(s).find((w) => spanMs / f.parseDuration(w) <= POINTS_AUTO) || coarser(s).at(-1) || "";
}

// A time as it may be asked for: RFC 3339, seconds, now, -1h. NaN: it is none.
function readTime(text, now) {
	const t = text.trim();
	if (t === "" || t === "now") return now;
	if (t.startsWith("-")) return now - f.parseDuration(t.slice(1));
	return /^\d+(\.\d+)?$/.test(t) ? Number(t) * 1000 : Date.parse(t);
}

// {from, to (ms), live: the end moves on, late: the stream is that far in the past}
function spanNow() {
	const s = streamOf(), now = serverNow();
	if (conf.range === "custom") return {from: readTime(conf.from || "-1h", now), to: readTime(conf.to, now), live: !conf.to || conf.to === "now"};
	const mark = f.parseTime(s.watermark);
	if (mark !== null && now - mark > rangeMs()) return {from: mark - rangeMs(), to: mark + 2 * ownWindow(s), live: true, late: mark};
	return {from: now - rangeMs(), to: now, live: true};
}

// ---- asking ----------------------------------------------------------------------------------------------------------------------

function pathOf(group, from, to, cursor) {
	const s = streamOf(), span = spanNow(), p = new URLSearchParams({stream: conf.stream, by: group ? Object.keys(group).join(",") : ""});
	const window = windowNow(s, span.to - span.from);
	if (window) p.set("window", window);
	if (group) Object.entries(group).forEach(([k, v]) => p.append("where", `${k}=${v}`));
	p.set("select", selected().join(","));
	p.set("from", new Date(from).toISOString());
	if (to !== null) p.set("to", new Date(to).toISOString());
	p.set("limit", PAGE);
	if (cursor) p.set("cursor", cursor);
	return "/api/v1/query?" + p;
}

async function fetchRows(group, from, to, signal) {
	const rows = [];
	let cursor = null;
	do {
		const answer = await get(pathOf(group, from, to, cursor), {signal});
		rows.push(...answer.rows);
		cursor = answer.next;
	} while (cursor && rows.length < POINTS_MAX);
	truncated = truncated || Boolean(cursor);
	return rows;
}

// An answer and an event may cross: what is known of the window stays, where it is newer.
function put(one, row) {
	const start = f.parseTime(row.start);
	if (!isOlder(row, one.rows.get(start))) one.rows.set(start, row);
}

// All anew. What is drawn stays until the answer is there, where it is of the same question.
async function load() {
	loading?.abort();
	const mine = loading = new AbortController(), span = spanNow(), question = JSON.stringify(conf);
	arrived = [];
	truncated = false;
	loadError = !isFinite(span.from) || !isFinite(span.to) || span.from >= span.to ? "From … to is no range of time" : null;
	dirtyFrom = null;
	lastTailMs = Date.now();
	if (question !== asked || loadError) {
		asked = question;
		series = emptySeries();
		picture.unzoom();
		render();
	}
	try {
		if (!loadError) await loadAll(span, mine);
	} catch (e) {
		if (e.code === "aborted") return;
		loadError = told(e);
		dirtyFrom = -Infinity;
	} finally {
		if (loading === mine) loading = null;
	}
	render();
}

const emptySeries = () => (conf.groups.length ? conf.groups : [null]).map((group) => ({group, rows: new Map()}));

async function loadAll(span, mine) {
	const to = conf.range === "custom" && !span.live ? span.to : null, fresh = emptySeries();
	const all = await Promise.all(fresh.map((one) => fetchRows(one.group, span.from, to, mine.signal)));
	if (mine.signal.aborted) throw new ApiError(0, "aborted", "");
	fresh.forEach((one, i) => all[i].forEach((row) => put(one, row)));
	series = fresh;
	for (const row of arrived.splice(0)) takeRow(row); // told of by the watch meanwhile
}

// Where what may still change begins. Of closed windows the watch tells.
function changingFrom() {
	const provisional = !watch && tails++ % PROVISIONAL_EVERY === 0;
	let from = dirtyFrom ?? Infinity, last = -Infinity;
	for (const one of series) for (const [start, row] of one.rows) {
		if (row.state === "open" || (provisional && row.state === "provisional")) from = Math.min(from, start);
		last = Math.max(last, start);
	}
	return Math.min(from, last);
}

async function loadTail() {
	const span = spanNow(), from = Math.max(span.from, changingFrom()), dirty = dirtyFrom;
	lastTailMs = Date.now();
	if (loadError || !isFinite(from)) return load(); // nothing to go on from
	const mine = loading = new AbortController();
	dirtyFrom = null;
	try {
		const all = await Promise.all(series.map((one) => fetchRows(one.group, from, null, mine.signal)));
		if (mine.signal.aborted) return;
		series.forEach((one, i) => all[i].forEach((row) => put(one, row)));
	} catch {
		dirtyFrom = dirty ?? from; // the head of the page says that the node does not answer
	} finally {
		if (loading === mine) loading = null;
	}
	render();
}

function forgetOld() {
	const from = spanNow().from;
	for (const one of series) for (const start of one.rows.keys()) if (start < from - ownWindow(streamOf())) one.rows.delete(start);
}

function tick() {
	if (!shown || !conf || loading || document.hidden || !streamOf()) return;
	if (conf.range === "custom" && !spanNow().live) return;
	const wait = dirtyFrom !== null && health.sinceMs === null && !loadError ? TAIL_LEAST_MS : TAIL_MS;
	if (Date.now() - lastTailMs < wait) return;
	forgetOld();
	loadTail();
}

// ---- following -------------------------------------------------------------------------------------------------------------------

// Rows of the watch are those that are drawn: the stream's own windows, all its tags, functions that it computes.
function isDirect() {
	const s = streamOf(), span = spanNow();
	return conf.groups.length > 0 && !windowNow(s, span.to - span.from) && conf.by.length === s.by.length && selected().every((fn) => s.compute.includes(fn));
}

function isOlder(row, than) {
	if (!than || than.state === "open") return false;
	return (row.revision ?? 0) < (than.revision ?? 0) || (row.revision === than.revision && than.state === "final" && row.state !== "final");
}

function takeRow(row) {
	const start = f.parseTime(row.start);
	if (!isDirect()) {
		const w = windowNow(streamOf(), spanNow().to - spanNow().from), size = w ? f.parseDuration(w) : 0;
		dirtyFrom = Math.min(dirtyFrom ?? Infinity, size ? Math.floor(start / size) * size : start);
		return;
	}
	const key = f.groupKey(row.group), one = series.find((x) => f.groupKey(x.group) === key);
	if (!one) return;
	if (loading) arrived.push(row);
	put(one, row);
	renderSoon();
}

function setLive(state, sinceMs) {
	const texts = {connecting: [{state: "wait", text: "connecting …"}], live: [{state: "ok", text: "live"}],
		waiting: [{state: "bad", text: `not followed since ${sinceMs && f.timeShort(sinceMs, sinceMs)}`}],
		asked: [{state: "ok", text: `asked every ${TAIL_MS / 1000} s`}], still: [{state: "idle", text: "does not move on"}]};
	$("chart-live").dataset.state = state;
	fill($("chart-live"), texts[state]);
}

function follow() {
	watch?.close();
	watch = null;
	const s = shown && !document.hidden && conf ? streamOf() : null;
	if (!s) return;
	const where = [...new Map(conf.groups.flatMap((g) => Object.entries(g)).map((pair) => [JSON.stringify(pair), pair])).values()];
	if (!spanNow().live) setLive("still");
	else if (!conf.groups.length && s.groups > WATCHED_GROUPS_MAX) setLive("asked");
	else watch = new Watch(conf.stream, where, {row: takeRow, reset: load, state: setLive});
}

// ---- drawing ---------------------------------------------------------------------------------------------------------------------

let renderTimer = 0;
function renderSoon() {
	renderTimer = renderTimer || setTimeout(() => { renderTimer = 0; render(); }, 100);
}

function stepNow(s, span) {
	const w = windowNow(s, span.to - span.from);
	return w ? f.parseDuration(w) : ownStep(s);
}

function note(span) {
	const parts = [];
	if (span.late !== undefined) parts.push(`The stream's readings are of the past: shown is the time before its watermark, ${f.time(span.late)}.`);
	if (conf.groups.length > 1 && conf.show === SPREAD) parts.push(`Several groups are drawn by one function: ${lineFunction(streamOf())}.`);
	if (loadError && health.sinceMs === null && series.some((one) => one.rows.size)) parts.push("What is drawn is not up to date: " + loadError + ".");
	if (truncated) parts.push(`Only the first ${f.count(POINTS_MAX)} windows are shown: choose a longer window or a shorter range.`);
	show($("chart-note"), parts.length > 0);
	setText($("chart-note"), parts.join(" "));
}

function emptyText() {
	if (loadError) return loadError.startsWith("From") ? loadError : "The windows are not known now: " + loadError;
	if (loading) return "Asking …";
	return "No window in this range has a reading" + (conf.groups.length ? " of these groups." : ".");
}

function render() {
	if (!shown || !conf || !streamOf()) return;
	const s = streamOf(), span = spanNow(), spread = isSpread() ? spreadOf(s) : null;
	const any = series.some((one) => one.rows.size > 0);
	const fn = lineFunction(s);
	setText($("chart-name"), `${conf.stream}: ${spread ? "how its readings are spread" : fn}, ${conf.groups.length === 0 ? "all groups together" : conf.groups.length === 1 ? f.groupText(conf.groups[0]) : conf.groups.length + " groups"}`);
	note(span);
	show($("chart-empty"), !any);
	if (!any) setText($("chart-empty"), emptyText());
	$("chart").classList.toggle("is-empty", !any);
	picture.draw({series, spread, fn, step: stepNow(s, span), span});
	renderLegend(spread, fn);
	renderReadout(picture.selection());
	renderTable();
}

function renderLegend(spread, fn) {
	const items = [];
	const item = (swatch, text) => h("li", null, h("i", {class: "swatch " + swatch, "aria-hidden": "true"}), h("bdi", null, text));
	if (spread) {
		items.push(item("line c0", spread.line));
		if (spread.inner) items.push(item("band-inner", spread.inner.join(" to ")));
		if (spread.outer) items.push(item("band-outer", spread.outer.join(" to ")));
	} else {
		series.forEach((one, i) => items.push(item(`line c${i}`, one.group ? f.groupText(one.group) : fn)));
	}
	items.push(item("mark-provisional", "provisional: an edge is missing"), item("mark-open", "open: readings still come"));
	const signature = items.map((x) => x.textContent + x.firstChild.className).join("\n"), ul = $("chart-legend");
	if (ul.dataset.signature === signature) return;
	ul.dataset.signature = signature;
	ul.replaceChildren(...items);
}

const edgesText = (row) => `${row.edges.contributed + row.edges.idle} of ${row.edges.expected} edges` + (row.edges.missing.length ? ", missing " + f.someNames(row.edges.missing, 3) : "");
const valueParts = (row, fns) => fns.flatMap((fn) => [{class: "why", text: fn + " "}, {class: "strong", text: f.value(row.values[fn]), title: String(row.values[fn])},
	...(row.error[fn] !== undefined ? [{class: "why", text: ` ±${(row.error[fn] * 100).toFixed(2)} %`}] : []), "  "]);
const stateOf = (row) => [{state: f.kindOf(row.state), text: row.state + (row.revision > 1 ? `, revision ${row.revision}` : "")}];

function renderReadout(start) {
	const rows = series.map((one) => one.rows.get(start)).filter(Boolean);
	if (!rows.length) return fill($("chart-readout"), [""]);
	const head = [{class: "when", text: `${f.time(f.parseTime(rows[0].start))} to ${f.time(f.parseTime(rows[0].end), "clock")}`}, "  "];
	if (series.length === 1) return fill($("chart-readout"), [...head, ...valueParts(rows[0], selected()), ...stateOf(rows[0]),
		...(rows[0].state === "open" ? [] : [{class: "why", text: "  " + edgesText(rows[0])}])]);
	const fn = lineFunction(streamOf());
	fill($("chart-readout"), [...head, ...rows.flatMap((row) => [{class: "why", text: f.groupText(row.group) + " ", isolate: true}, {class: "strong", text: f.value(row.values[fn])},
		...(row.state === "final" ? [] : [" ", ...stateOf(row)]), "  "])]);
}

function renderTable() {
	if (!$("chart-details").open) return;
	const starts = [...new Set(series.flatMap((one) => [...one.rows.keys()]))].sort((a, b) => b - a).slice(0, TABLE_WINDOWS);
	const rows = starts.flatMap((start) => series.map((one) => one.rows.get(start)).filter(Boolean));
	table.setColumns([
		{title: "Window", head: true, cell: (r) => [`${f.time(f.parseTime(r.start))} – ${f.time(f.parseTime(r.end), "clock")}`]},
		...(conf.groups.length ? [{title: "Group", cell: (r) => [{text: f.groupText(r.group), isolate: true}]}] : []),
		...selected().map((fn) => ({title: fn, number: true, cell: (r) => [{text: f.value(r.values[fn]), title: String(r.values[fn])}]})),
		{title: "State", cell: stateOf}, {title: "Edges", cell: (r) => [edgesText(r)]}]);
	table.update(rows, (r) => r.start + f.groupKey(r.group));
}

// ---- the controls -----------------------------------------------------------------------------------------------------------------

function options(select, list, chosen) {
	const signature = JSON.stringify(list);
	if (select.dataset.signature !== signature) {
		select.dataset.signature = signature;
		select.replaceChildren(...list.map(([value, text]) => h("option", {value}, text)));
	}
	if (select.value !== chosen) select.value = chosen;
}

function renderControls() {
	const s = streamOf();
	options($("chart-stream"), [...streams.byName.keys()].sort().map((n) => [n, n]), conf.stream);
	$("chart-range").value = conf.range;
	document.querySelectorAll(".custom-range").forEach((e) => show(e, conf.range === "custom"));
	if (document.activeElement !== $("chart-from")) $("chart-from").value = conf.from;
	if (document.activeElement !== $("chart-to")) $("chart-to").value = conf.to;
	if (!s) return;
	const own = s.every && s.every !== s.window ? `${s.window} every ${s.every}` : s.window;
	options($("chart-window"), [["auto", "as fits"], [s.window, `${own}, its own`], ...coarser(s).map((w) => [w, w])], conf.window);
	options($("chart-show"), [...(spreads(s) ? [[SPREAD, "spread"]] : []), ...s.compute.map((fn) => [fn, fn])], conf.show);
	renderBy(s);
	picker.setSource({stream: conf.stream, by: conf.by, select: has(s, "count") ? "count" : s.compute[0], mark: f.parseTime(s.watermark), window: ownWindow(s)});
	picker.setChosen(conf.groups);
}

function renderBy(s) {
	const box = $("chart-by"), signature = JSON.stringify(s.by);
	show(box, s.by.length > 1);
	if (box.dataset.signature !== signature) {
		box.dataset.signature = signature;
		box.querySelector(".chip-row").replaceChildren(...s.by.map((tag) =>
			h("label", {class: "chip"}, h("input", {type: "checkbox", value: tag, onchange: changeBy}), h("bdi", null, tag))));
	}
	box.querySelectorAll("input").forEach((x) => { x.checked = conf.by.includes(x.value); });
}

function changeBy() {
	const by = [...$("chart-by").querySelectorAll("input:checked")].map((x) => x.value);
	change({by, groups: []});
}

function paramsOf(c) {
	const s = streams.byName.get(c.stream), p = new URLSearchParams({stream: c.stream});
	if (c.range !== "15m") p.set("range", c.range);
	if (c.range === "custom") {
		p.set("from", c.from);
		if (c.to) p.set("to", c.to);
	}
	if (c.window !== "auto") p.set("window", c.window);
	if (s && c.show !== (spreads(s) ? SPREAD : mainFunction(s))) p.set("show", c.show);
	if (s && c.by.length !== s.by.length) p.set("by", c.by.join(","));
	c.groups.forEach((g) => p.append("g", new URLSearchParams(Object.entries(g)).toString()));
	return p;
}

// Of a link, which anybody may have written: what does not fit is as if it were not there.
function confOf(params) {
	const name = params.get("stream") && streams.byName.has(params.get("stream")) ? params.get("stream") : conf?.stream ?? [...streams.byName.keys()].sort()[0];
	const s = streams.byName.get(name);
	if (!s) return null;
	const pick = (key, list, other) => list.includes(params.get(key)) ? params.get(key) : other;
	const by = params.has("by") ? s.by.filter((tag) => params.get("by").split(",").includes(tag)) : [...s.by];
	const groups = params.getAll("g").map((g) => Object.fromEntries(new URLSearchParams(g))).slice(0, CHOSEN_MAX)
		.filter((g) => Object.keys(g).length === by.length && by.every((tag) => tag in g));
	return {stream: name, by, groups, from: params.get("from") || "", to: params.get("to") || "",
		range: pick("range", ["5m", "15m", "1h", "6h", "1d", "7d", "custom"], "15m"),
		window: pick("window", [s.window, ...coarser(s)], "auto"),
		show: pick("show", s.compute, spreads(s) ? SPREAD : mainFunction(s))};
}

function start() {
	renderControls();
	replaceHash("chart", paramsOf(conf));
	load();
	follow();
}

function change(more) {
	if (more.stream && more.stream !== conf.stream) {
		conf = confOf(new URLSearchParams({stream: more.stream, range: conf.range, from: conf.from, to: conf.to}));
	} else {
		conf = {...conf, ...more};
	}
	if (conf) start();
}

// ---- from outside ----------------------------------------------------------------------------------------------------------------

// A link, or the way back.
export function enter(params) {
	shown = true;
	clearInterval(tailTimer);
	tailTimer = setInterval(tick, 500);
	conf = confOf(params);
	show($("chart-empty"), !conf);
	if (conf) start();
	else setText($("chart-empty"), streams.all.length ? "There is no such stream." : "No stream is in the topology, or it is not known yet.");
}

export function leave() {
	shown = false;
	clearInterval(tailTimer);
	loading?.abort();
	follow();
}

// The list of streams was asked for again.
export function streamsChanged() {
	if (!shown) return;
	if (!conf || !streamOf()) {
		enter(new URLSearchParams(location.hash.split("?")[1] || ""));
	} else {
		renderControls();
	}
}

// The tab was hidden, or is seen again; while it is not, nothing is asked.
export function visibilityChanged() {
	if (!shown || !conf) return;
	if (!document.hidden && streamOf()) load();
	follow();
}

export function looksChanged() {
	picture.looksChanged(); // also of a chart that is not shown now: it is drawn anew when it is
	if (!shown || !conf) return;
	render();
	follow();
}

export const openGroups = () => picker.toggle(true);

export function open() {
	picker = new Picker((groups) => change({groups}));
	picture = new Picture($("chart"), renderReadout);
	table = new Table($("chart-table"), "The newest windows of the chart");
	$("chart-form").addEventListener("submit", (e) => e.preventDefault());
	$("chart-stream").addEventListener("change", (e) => change({stream: e.target.value}));
	$("chart-range").addEventListener("change", (e) => change({range: e.target.value, from: conf.from || "-1h"}));
	$("chart-from").addEventListener("change", (e) => change({from: e.target.value.trim()}));
	$("chart-to").addEventListener("change", (e) => change({to: e.target.value.trim()}));
	$("chart-window").addEventListener("change", (e) => change({window: e.target.value}));
	$("chart-show").addEventListener("change", (e) => change({show: e.target.value}));
	$("chart-details").addEventListener("toggle", renderTable);
}
