// The query form: what it asks is shown as a URL and as a line for the terminal, and all of it is in the link of the page.

import {ApiError, get, streams, told} from "./api.js";
import {$, Table, h, setText, show, toast} from "./dom.js";
import * as f from "./format.js";
import {replaceHash} from "./state.js";

const ROWS_MAX = 10000;
let table, shown = false, asked = null, cursors = [];

// ---- the form and its parameters ---------------------------------------------------------------------------------------------------

const streamNow = () => streams.byName.get($("q-stream").value);
const checked = (box) => [...box.querySelectorAll("input:checked")].map((x) => x.value);

function conditions() {
	return [...$("q-where").children].map((li) => [li.querySelector("select").value, li.querySelector("input").value]);
}

// The parameters of /api/v1/query, in the order of its documentation; what is left to the server is not among them.
function params() {
	const s = streamNow(), p = [["stream", $("q-stream").value]];
	const text = (name, id) => { if ($(id).value.trim()) p.push([name, $(id).value.trim()]); };
	text("from", "q-from");
	text("to", "q-to");
	text("window", "q-window");
	const by = checked($("q-by"));
	if (s && by.length !== s.by.length) p.push(["by", by.join(",")]);
	conditions().forEach(([tag, value]) => p.push(["where", `${tag}=${value}`]));
	const select = [...checked($("q-select")), ...$("q-more").value.split(",").map((x) => x.trim()).filter(Boolean)];
	if (select.length) p.push(["select", select.join(",")]);
	text("state", "q-state");
	p.push(["limit", $("q-limit").value || "100"]);
	if ($("q-stale").checked) p.push(["stale", "ok"]);
	return p;
}

const encode = (list) => list.map(([k, v]) => `${k}=${encodeURIComponent(v)}`).join("&");
const quote = (text) => /^[\w@%+=:,./-]+$/.test(text) ? text : "'" + text.replace(/'/g, "'\\''") + "'";

// Options that begin with a minus take their value with an equals sign.
function option([name, value]) {
	if (name === "stale") return "--stale";
	return value.startsWith("-") ? quote(`--${name}=${value}`) : `--${name} ${quote(value)}`;
}

export function ctlLine(list, origin) {
	const secure = origin.startsWith("https:") ? " --ca-file ca.crt --token-file ~/.weir.token" : "";
	const [, stream] = list.find(([name]) => name === "stream");
	return `weirctl --url ${origin}${secure} query ${quote(stream)} ` + list.filter(([name]) => name !== "stream").map(option).join(" ");
}

function renderLines() {
	const list = params();
	setText($("q-url"), `${location.origin}/api/v1/query?${encode(list)}`);
	setText($("q-ctl"), ctlLine(list, location.origin));
	replaceHash("query", new URLSearchParams(list));
}

// ---- parts of the form that depend on the stream -------------------------------------------------------------------------------------

function chips(box, values, on) {
	box.querySelector(".chip-row").replaceChildren(...values.map((v) =>
		h("label", {class: "chip"}, h("input", {type: "checkbox", value: v, checked: on(v), onchange: renderLines}), h("bdi", null, v))));
}

function addCondition(tag, value) {
	const s = streamNow();
	if (!s || !s.by.length) return;
	const select = h("select", {"aria-label": "Tag", onchange: renderLines}, ...s.by.map((t) => h("option", {value: t}, t)));
	if (tag) select.value = tag;
	const li = h("li", null, select, h("span", null, " is "), h("input", {type: "text", "aria-label": "Value", spellcheck: "false", value: value || "", oninput: renderLines}),
		h("button", {type: "button", "aria-label": "Remove the condition", onclick: () => { li.remove(); renderLines(); }}, "Remove"));
	$("q-where").append(li);
	return li;
}

function fillStream(p) {
	const s = streamNow();
	if (!s) return;
	const by = p.has("by") ? p.get("by").split(",") : s.by, select = (p.get("select") || "").split(",").filter(Boolean);
	chips($("q-by"), s.by, (tag) => by.includes(tag));
	chips($("q-select"), s.compute, (fn) => select.includes(fn));
	$("q-more").value = select.filter((fn) => !s.compute.includes(fn)).join(",");
	$("q-windows").replaceChildren(...[1, 2, 5, 10, 60].map((n) => h("option", {value: f.formatDuration(f.parseDuration(s.slice) * n)})));
	$("q-where").replaceChildren();
	p.getAll("where").forEach((w) => {
		const at = w.indexOf("=");
		if (at > 0 && s.by.includes(w.slice(0, at))) addCondition(w.slice(0, at), w.slice(at + 1));
	});
	show($("q-where-add"), s.by.length > 0);
}

function fillForm(p) {
	const names = [...streams.byName.keys()].sort();
	$("q-stream").replaceChildren(...names.map((n) => h("option", {value: n}, n)));
	if (names.includes(p.get("stream"))) $("q-stream").value = p.get("stream");
	for (const name of ["from", "to", "window"]) $("q-" + name).value = p.get(name) || "";
	$("q-state").value = p.get("state") === "final" ? "final" : "";
	$("q-limit").value = /^\d{1,5}$/.test(p.get("limit") || "") ? p.get("limit") : "100";
	$("q-stale").checked = p.get("stale") === "ok";
	fillStream(p);
	renderLines();
}

// ---- asking, and the answer ---------------------------------------------------------------------------------------------------------

function columns(answer) {
	const tags = answer.by, fns = [...new Set(answer.rows.flatMap((r) => Object.keys(r.values)))];
	return [
		{title: "From", head: true, cell: (r) => [f.time(f.parseTime(r.start))]},
		{title: "To", cell: (r) => [f.time(f.parseTime(r.end), "clock")]},
		...tags.map((tag) => ({title: tag, cell: (r) => [r.group[tag] === "" ? {text: "(none)", class: "quiet"} : {text: r.group[tag], isolate: true}]})),
		...fns.map((fn) => ({title: fn, number: true, cell: (r) => [{text: f.value(r.values[fn]), title: String(r.values[fn])},
			...(r.error[fn] !== undefined ? [{class: "why", text: ` ±${(r.error[fn] * 100).toFixed(2)} %`}] : [])]})),
		{title: "State", cell: (r) => f.stateParts(r.state)},
		{title: "Revision", number: true, cell: (r) => [r.revision === null ? {text: "–", class: "quiet"} : String(r.revision)]},
		{title: "Edges", hint: "that have contributed or are idle, of those expected", cell: (r) => [`${r.edges.contributed + r.edges.idle} of ${r.edges.expected}`,
			...(r.edges.missing.length ? [{class: "why", text: " missing " + f.someNames(r.edges.missing, 2), title: r.edges.missing.join(", "), isolate: true}] : [])]},
	];
}

function summary(answer, ms) {
	const n = answer.rows.length, pages = cursors.length > 1 ? `, page ${cursors.length}` : "";
	const stale = answer.stale ? `; may lack ${f.count(answer.stale.behind_entries)} entries` : "";
	const mark = answer.watermark ? `; closed up to ${f.time(f.parseTime(answer.watermark))}` : "";
	return `${f.count(n)} ${n === 1 ? "row" : "rows"}${pages}, windows of ${answer.window}, in ${f.count(Math.round(ms))} ms${mark}${stale}` + (answer.next ? "; there are more" : "");
}

async function ask(list, cursor) {
	asked?.abort();
	const mine = asked = new AbortController(), began = performance.now();
	setText($("q-wrong"), "");
	setText($("q-summary"), "Asking …");
	try {
		const answer = await get("/api/v1/query?" + encode(cursor ? [...list, ["cursor", cursor]] : list), {signal: mine.signal, timeoutMs: 30000});
		table.setColumns(columns(answer));
		table.update(answer.rows, (r) => r.start + r.end + f.groupKey(r.group));
		$("q-table").hidden = !answer.rows.length;
		setText($("q-summary"), summary(answer, performance.now() - began));
		show($("q-next"), answer.next !== null);
		show($("q-first"), cursors.length > 1);
		$("q-next").onclick = () => { cursors.push(answer.next); ask(list, answer.next); };
		$("q-first").onclick = () => { cursors = [null]; ask(list, null); };
	} catch (e) {
		if (!(e instanceof ApiError)) throw e;
		if (e.code === "aborted") return;
		setText($("q-summary"), "");
		setText($("q-wrong"), told(e));
	}
}

function submit(e) {
	e.preventDefault();
	if (Number($("q-limit").value) > ROWS_MAX) $("q-limit").value = ROWS_MAX;
	renderLines();
	cursors = [null];
	ask(params(), null);
}

// ---- from outside -------------------------------------------------------------------------------------------------------------------

export function enter(p) {
	shown = true;
	if ([...p.keys()].length || !$("q-stream").options.length) fillForm(p);
	setText($("q-wrong"), streams.byName.size ? "" : "No stream is in the topology, or it is not known yet.");
}

export function leave() {
	shown = false;
	asked?.abort();
}

export function streamsChanged() {
	if (shown && !$("q-stream").options.length && streams.byName.size) enter(new URLSearchParams(location.hash.split("?")[1] || ""));
}

async function copy(id) {
	const text = $(id).textContent;
	try {
		await navigator.clipboard.writeText(text);
		toast("Copied");
	} catch { // only for pages that came encrypted, or of this machine: then what is to be copied is marked
		getSelection().selectAllChildren($(id));
		toast("Marked: Ctrl-C copies it");
	}
}

export function open() {
	table = new Table($("q-table"), "Rows of the answer");
	$("q-table").hidden = true;
	$("query-form").addEventListener("submit", submit);
	$("q-stream").addEventListener("change", () => { fillStream(new URLSearchParams()); renderLines(); });
	for (const id of ["q-from", "q-to", "q-window", "q-state", "q-limit", "q-stale", "q-more"]) $(id).addEventListener("input", renderLines);
	$("q-where-add").addEventListener("click", () => { addCondition()?.querySelector("select").focus(); renderLines(); });
	document.querySelectorAll("[data-copy]").forEach((b) => b.addEventListener("click", () => copy(b.dataset.copy)));
}
