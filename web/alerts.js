// Alerts that are pending or firing.

import {get, told} from "./api.js";
import {$, Table, setText, show} from "./dom.js";
import * as f from "./format.js";
import {hashOf} from "./state.js";

const ASK_AGAIN_MS = 300000; // where the cluster has no alerts
const ALERTS_MAX = 1000;
let table, noneUntilMs = 0, alerts = [], cut = false;

// What it is about first: the last ones may be off a narrow screen.
const columns = [
	{title: "Alert", head: true, cell: (a) => [{text: a.name, isolate: true}]},
	{title: "State", cell: (a) => f.stateParts(a.state)},
	{title: "Says", cell: (a) => [{text: [a.severity, a.summary].filter((x) => x).join(": ") || "–", isolate: true}]},
	{title: "Values", cell: (a) => [Object.entries(a.values || {}).map(([k, v]) => `${k} ${f.value(v)}`).join(", ")]},
	{title: "Group", cell: (a) => [{text: f.groupText(a.group || {}), isolate: true}]},
	{title: "Stream", cell: (a) => [{text: a.stream, href: hashOf("chart", new URLSearchParams([["stream", a.stream], ...groupParameter(a.group)]))}]},
	{title: "Since", cell: (a) => [f.time(f.parseTime(a.since))]},
	{title: "When", cell: (a) => [{text: a.when, class: "code"}]},
	{title: "Window", cell: (a) => a.window ? [`${f.time(f.parseTime(a.window.start))} – ${f.time(f.parseTime(a.window.end), "clock")}`] : ["–"]},
];

function groupParameter(group) {
	const entries = Object.entries(group || {});
	return entries.length ? [["g", new URLSearchParams(entries).toString()]] : [];
}

const order = (a) => a.state === "firing" ? 0 : 1;

function render(error) {
	const firing = alerts.filter((a) => a.state === "firing").length, pending = alerts.length - firing;
	table.setColumns(columns);
	table.update([...alerts].sort((a, b) => order(a) - order(b) || (a.since < b.since ? 1 : -1)), (a) => JSON.stringify([a.name, a.stream, a.group, a.window]));
	show($("alerts-table"), alerts.length > 0);
	show($("alerts-empty"), !alerts.length);
	setText($("alerts-summary"), alerts.length ? `${cut ? `The first ${f.count(alerts.length)} of more: ` : ""}${f.count(firing)} firing, ${f.count(pending)} pending` : "");
	setText($("alerts-empty"), error || "Nothing fires, and nothing is about to.");
	show($("alert-badge"), firing > 0);
	setText($("alert-badge"), firing ? f.count(firing) + (cut ? "+" : "") : "");
}

async function loadAll() {
	const found = [];
	let cursor = null;
	do {
		const answer = await get("/api/v1/alerts" + (cursor ? "?cursor=" + encodeURIComponent(cursor) : ""));
		found.push(...answer.alerts);
		cursor = answer.next;
	} while (cursor && found.length < ALERTS_MAX);
	cut = Boolean(cursor);
	return found;
}

// Those that the cluster knows; 404: this version or this topology has none.
export async function load() {
	if (Date.now() < noneUntilMs) return;
	try {
		alerts = await loadAll();
		render(null);
	} catch (e) {
		alerts = e.status === 404 ? [] : alerts;
		if (e.status === 404) noneUntilMs = Date.now() + ASK_AGAIN_MS;
		render(e.status === 404 ? "No alerts are defined." : "The alerts are not known now: " + told(e));
		if (e.status !== 404) throw e;
	}
}

export const again = () => { noneUntilMs = 0; };

export function open() {
	table = new Table($("alerts-table"), "Alerts, firing ones first");
}
