// The way of the data at a glance: edges, cloud, streams, sinks, and what is wrong with them.

import {get, loadStreams, serverNow, streams, told} from "./api.js";
import {$, Table, fill, fillList, setText, show} from "./dom.js";
import * as f from "./format.js";
import {hashOf} from "./state.js";

const EDGES_SHOWN = 50, STREAMS_SHOWN = 50, SHARDS_SHOWN = 24, MORE_SHOWN = 200, SHOWN_MAX = 1000, FINDINGS_SHOWN = 6, TOLD_ONE_BY_ONE = 3;
const RATE_OVER_MS = 30000, RATE_LEAST_MS = 1500, SPARK_VALUES = 60;
const BEHIND_ENTRIES = 100; // a replica in step lacks a few at any moment

// ---- rates: from what successive answers count ------------------------------------------------------------------------

// Partials come in waves, once a slice: a rate is over half a minute.
class Rate {
	constructor() {
		this.samples = [];
		this.history = [];
	}

	add(ms, total) {
		const last = this.samples.at(-1);
		if (last && total < last.total) this.samples = []; // counted anew
		this.samples.push({ms, total});
		while (this.samples.length > 2 && ms - this.samples[1].ms > RATE_OVER_MS) this.samples.shift();
		if (this.perSecond() !== null) this.history.push(this.perSecond());
		if (this.history.length > SPARK_VALUES) this.history.shift();
	}

	perSecond() {
		const first = this.samples[0], last = this.samples.at(-1);
		return !first || last.ms - first.ms < RATE_LEAST_MS ? null : (last.total - first.total) * 1000 / (last.ms - first.ms);
	}
}

const streamRates = new Map(), edgeRates = new Map();
function rateOf(rates, key) {
	if (!rates.has(key)) rates.set(key, new Rate());
	return rates.get(key);
}
const keyOf = (s) => s.name + "\n" + s.version;
const sum = (counts) => Object.values(counts || {}).reduce((a, b) => a + b, 0);
const perSecond = (rates, key) => rates.get(key)?.perSecond() ?? null;

// ---- what was last heard -----------------------------------------------------------------------------------------------

const now = {cluster: null, edges: null, streams: null, sinks: null, errors: {}};
export const clusterNow = () => now.cluster;

async function part(name, load) {
	try {
		now[name] = await load();
		delete now.errors[name];
	} catch (e) {
		if (e.status !== 0) now.errors[name] = "not known now: " + told(e); // else the head of the page says that the node does not answer
		throw e;
	}
}

export async function load() {
	const results = await Promise.allSettled([
		part("cluster", () => get("/api/v1/cluster")),
		part("edges", async () => (await get("/api/v1/edges")).edges),
		part("streams", loadStreams),
		part("sinks", () => get("/api/v1/sinks")),
	]);
	const ms = performance.now();
	if (results[2].status === "fulfilled") now.streams.forEach((s) => rateOf(streamRates, keyOf(s)).add(ms, s.received));
	if (results[1].status === "fulfilled") now.edges.forEach((e) => rateOf(edgeRates, e.name).add(ms, e.accepted));
	render();
	const failed = results.find((r) => r.status === "rejected");
	if (failed) throw failed.reason;
}

// ---- what is wrong --------------------------------------------------------------------------------------------------------

const plural = (n, one, many) => `${f.count(n)} ${n === 1 ? one : many || one + "s"}`;
const heard = (e) => e.heard_ms_ago === null ? "never heard" : `heard ${f.duration(e.heard_ms_ago)} ago`;

// [kind, what it is about several of them, what more there is to say about one]
function edgeFinding(e) {
	const ahead = e.clock_ahead_ms ? `: ${f.duration(Math.abs(e.clock_ahead_ms))} ${e.clock_ahead_ms > 0 ? "ahead" : "behind"}` : "";
	if (e.revoked) return ["bad", "revoked", ""];
	if (e.fenced) return ["bad", "fenced", ": a copy of it, or an old backup, wants its name"];
	if (e.state === "partitioned") return ["bad", "partitioned", `: ${heard(e)}`];
	if (e.clock_suspect) return ["wait", "under suspicion of a wrong clock", ahead];
	if (e.state === "backpressured") return ["wait", "backpressured", ": its disk limit is near"];
	if (e.readmit) return ["wait", "about to be let in again", ""];
	return null;
}

// Few are told of one by one, many of a kind together.
function edgeFindings(edges) {
	const kinds = new Map();
	for (const e of edges) {
		const found = edgeFinding(e);
		if (!found) continue;
		if (!kinds.has(found[1])) kinds.set(found[1], []);
		kinds.get(found[1]).push([e, found]);
	}
	return [...kinds].flatMap(([what, list]) => list.length > TOLD_ONE_BY_ONE
		? [[list[0][1][0], `${f.count(list.length)} edges are ${what}: ${f.someNames(list.map(([e]) => e.name), 3)}`]]
		: list.map(([e, [kind, , more]]) => [kind, `Edge ${e.name} is ${what}${more}`]));
}

function nodeFindings(cluster) {
	return cluster.nodes.flatMap((n) => n.state !== "up" ? [["bad", `Node ${n.name} is ${n.state}`]]
		: n.membership !== "member" ? [["wait", `Node ${n.name} is ${n.membership}`]] : []);
}

function shardFindings(cluster) {
	const all = [{...cluster.meta, shard: "meta"}, ...cluster.shards];
	const names = (list) => f.someNames(list.map((s) => s.shard), 4);
	const found = [];
	const without = all.filter((s) => !s.leader), mute = all.filter((s) => s.leader && !s.quorum), moving = all.filter((s) => s.leader && s.quorum && !s.settled);
	if (without.length) found.push(["bad", `${plural(without.length, "shard")} without a leader: ${names(without)}`]);
	if (mute.length) found.push(["bad", `${plural(mute.length, "shard")} without a quorum: ${names(mute)}`]);
	if (moving.length) found.push(["wait", `${plural(moving.length, "shard")} moving to other nodes: ${names(moving)}`]);
	return found;
}

// " for 12 s at cloud-1"
const failingFor = (s) => ` for ${f.duration(s.failing_s * 1000)} at ${f.someNames(s.failing_at, 3)}`;
const sinkFindings = (sinks) => sinks.filter((s) => s.state === "failing").map((s) => ["bad", `Sink ${s.name} has failed${failingFor(s)}: ${s.error}`]);

function findings() {
	const found = [];
	for (const [name, message] of Object.entries(now.errors)) found.push(["bad", `${name[0].toUpperCase()}${name.slice(1)} ${message}`]);
	if (now.cluster && !now.errors.cluster) found.push(...nodeFindings(now.cluster), ...shardFindings(now.cluster));
	if (now.edges && !now.errors.edges) found.push(...edgeFindings(now.edges));
	if (now.sinks && !now.errors.sinks) found.push(...sinkFindings(now.sinks.sinks));
	return found.sort(([a], [b]) => (a === "bad" ? 0 : 1) - (b === "bad" ? 0 : 1));
}

function renderFindings() {
	const found = findings(), e = $("findings");
	if (!now.cluster && !found.length) return;
	let ul = e.querySelector("ul");
	if (!ul) e.append(ul = document.createElement("ul"));
	const items = found.slice(0, FINDINGS_SHOWN).map(([kind, text]) => [{state: kind, text}]);
	if (found.length > FINDINGS_SHOWN) items.push([`and ${found.length - FINDINGS_SHOWN} more`]);
	if (!found.length) items.push([{state: "ok", text: "Nothing is wrong: every edge is heard, every shard has a leader and a quorum."}]);
	fillList(ul, items);
}

// ---- the three cards -------------------------------------------------------------------------------------------------------

function counted(list, key) {
	const counts = new Map();
	for (const x of list) counts.set(x[key], (counts.get(x[key]) || 0) + 1);
	return [...counts].sort(([, a], [, b]) => b - a);
}

function sumRate(rates, keys) {
	const all = keys.map((k) => perSecond(rates, k));
	return all.length && all.every((r) => r === null) ? null : all.reduce((a, b) => a + (b || 0), 0);
}

function cardEdges() {
	if (!now.edges) return;
	setText($("flow-edges"), f.count(now.edges.length));
	const refused = now.edges.reduce((a, e) => a + sum(e.refused), 0), spool = now.edges.reduce((a, e) => a + (e.spool_bytes || 0), 0);
	const rate = sumRate(edgeRates, now.edges.map((e) => e.name));
	fillList($("flow-edges-facts"), [
		...counted(now.edges, "state").map(([state, n]) => [{state: f.kindOf(state), text: `${f.count(n)} ${state.replace(/_/g, " ")}`}]),
		[`${f.rate(rate)} accepted`], [`${f.bytes(spool)} waiting in spools`], [`${f.count(refused)} refused in all`]]);
}

const behindOf = (shard) => Math.max(0, ...shard.replicas.map((r) => r.lag ?? 0));

function cardClouds() {
	if (!now.cluster) return;
	const c = now.cluster, led = c.shards.filter((s) => s.leader && s.quorum).length;
	const behind = c.shards.filter((s) => behindOf(s) > BEHIND_ENTRIES).length;
	const away = c.shards.reduce((a, s) => a + s.replicas.filter((r) => r.role === "unreachable").length, 0);
	setText($("flow-clouds"), plural(c.nodes.length, "node"));
	fillList($("flow-clouds-facts"), [
		...counted(c.nodes, "state").map(([state, n]) => [{state: f.kindOf(state), text: `${n} ${state}`}]),
		[{state: led === c.shards.length ? "ok" : "bad", text: `${led} of ${plural(c.shards.length, "shard")} with leader and quorum`}],
		[away ? `${plural(away, "replica")} out of reach` : behind ? `replicas of ${plural(behind, "shard")} behind` : "replicas in step"]]);
}

function cardStreams() {
	if (!now.streams) return;
	const shown = [...streams.byName.values()];
	const rate = sumRate(streamRates, now.streams.map(keyOf));
	const marks = shown.map((s) => f.parseTime(s.watermark)).filter((t) => t !== null);
	const dropped = now.streams.reduce((a, s) => a + sum(s.dropped), 0), groups = shown.reduce((a, s) => a + s.groups, 0);
	setText($("flow-streams"), plural(shown.length, "stream"));
	fillList($("flow-streams-facts"), [
		[`${f.rate(rate)} merged`],
		[marks.length ? `closed up to ${f.duration(serverNow() - Math.min(...marks))} ago` : "no window closed yet"],
		[`${plural(groups, "group")}`], [`${f.count(dropped)} dropped in all`]]);
}

// ---- tables ----------------------------------------------------------------------------------------------------------------

const reasons = (counts) => {
	const some = Object.entries(counts || {}).filter(([, n]) => n > 0).sort(([, a], [, b]) => b - a);
	if (!some.length) return [{text: "0", class: "quiet"}];
	return [f.count(sum(counts)), {class: "why", text: " " + some.map(([k, n]) => (some.length > 1 ? f.count(n) + " " : "") + k).join(", ")}];
};

const behind = (text) => {
	const ms = f.parseTime(text);
	return ms === null ? [{text: "none yet", class: "quiet"}]
		: [{text: f.duration(serverNow() - ms), title: f.time(ms)}, {class: "why", text: " " + f.timeShort(ms, serverNow())}];
};

const streamColumns = [
	{title: "Stream", head: true, cell: (s) => [{text: s.name, href: hashOf("chart", new URLSearchParams({stream: s.name}))},
		...(s.phase === "current" ? [] : [{class: "why", text: ` version ${s.version}, ${s.phase}`}])]},
	{title: "Readings", number: true, hint: "merged, over the last half minute", cell: (s) => [{spark: rateOf(streamRates, keyOf(s)).history}, " " + f.rate(perSecond(streamRates, keyOf(s)))]},
	{title: "Window", cell: (s) => [s.every && s.every !== s.window ? `${s.window} every ${s.every}` : s.window || s.slice]},
	{title: "Closed up to", hint: "the watermark: windows that end before it are closed; how long ago that is", cell: (s) => behind(s.watermark)},
	{title: "Final up to", hint: "of windows that end before it no edge is missing", cell: (s) => behind(s.final)},
	{title: "Groups", number: true, cell: (s) => [f.count(s.groups), ...(s.overflowed ? [{class: "why", text: ` ${f.count(s.overflowed)} readings over the limit`}] : [])]},
	{title: "Dropped", number: true, cell: (s) => reasons(s.dropped)},
];

const sinkColumns = [
	{title: "Sink", head: true, cell: (s) => [{text: s.name, isolate: true}]},
	{title: "Type", cell: (s) => [s.type]},
	{title: "State", hint: "failing: at one node at least; since when none was delivered there", cell: (s) => [...f.stateParts(s.state), ...(s.failing_at.length ? [{class: "why", text: failingFor(s)}] : [])]},
	{title: "Delivered", number: true, hint: "since the nodes were started, or the sink was changed", cell: (s) => [f.count(s.rows), ...(s.alerts ? [{class: "why", text: " and " + plural(s.alerts, "alert")}] : [])]},
	{title: "Waiting", number: true, hint: "rows and alerts to deliver; of a shard's stream 10,000 are counted at most", cell: (s) => [s.rows === null ? f.count(null) : f.count(s.backlog_rows + s.backlog_alerts)]},
	{title: "Lag", number: true, hint: "age of the oldest that waits", cell: (s) => [f.duration(s.lag_s === null ? null : s.lag_s * 1000)]},
];

// Of each stream the newest watermark of any edge: how far the others are behind it.
function newestWatermarks(edges) {
	const newest = new Map();
	for (const e of edges) for (const s of e.streams) {
		const ms = f.parseTime(s.watermark);
		if (ms !== null && ms > (newest.get(s.name) ?? -Infinity)) newest.set(s.name, ms);
	}
	return newest;
}

function lagOf(edge, newest) {
	const lags = edge.streams.map((s) => {
		const ms = f.parseTime(s.watermark);
		return ms === null || !newest.has(s.name) ? null : newest.get(s.name) - ms;
	}).filter((x) => x !== null);
	return lags.length ? Math.max(...lags) : null;
}

const clockParts = (e) => e.clock_suspect
	? [{state: "wait", text: "suspect" + (e.clock_ahead_ms ? ` (${e.clock_ahead_ms > 0 ? "+" : "−"}${f.duration(Math.abs(e.clock_ahead_ms))})` : "")}]
	: [{text: e.heard_ms_ago === null ? "–" : "fine", class: "quiet"}];

const edgeColumns = [
	{title: "Edge", head: true, cell: (e) => [{text: e.name, isolate: true}]},
	{title: "State", cell: (e) => [...f.stateParts(e.state), ...(e.revoked ? [{class: "why", text: " revoked"}] : []), ...(e.fenced ? [{class: "why", text: " fenced"}] : [])]},
	{title: "Lag", number: true, hint: "how far its watermark is behind the newest of any edge, in its slowest stream", cell: (e) => [e.lag === null ? {text: "–", class: "quiet"} : f.duration(e.lag)]},
	{title: "Spool", number: true, hint: "measured, and not yet acknowledged by the cloud", cell: (e) => [f.bytes(e.spool_bytes)]},
	{title: "Accepted", number: true, cell: (e) => [f.count(e.accepted), {class: "why", text: " " + f.rate(perSecond(edgeRates, e.name))}]},
	{title: "Refused", number: true, cell: (e) => reasons(e.refused)},
	{title: "Clock", cell: clockParts},
	{title: "Heard", number: true, cell: (e) => [e.heard_ms_ago === null ? {text: "never", class: "quiet"} : f.duration(e.heard_ms_ago) + " ago"]},
];

// A table of which only so much is in the page as was asked for, step by step: what is not seen costs nothing.
class Some {
	constructor(id, what, first, render) {
		this.what = what;
		this.shown = first;
		this.button = $(id + "-more");
		this.told = $(id + "-shown");
		this.button.addEventListener("click", () => {
			this.shown = Math.min(this.shown + MORE_SHOWN, SHOWN_MAX);
			render();
		});
	}

	of(rows) {
		const some = rows.slice(0, this.shown), more = Math.min(rows.length, SHOWN_MAX) - some.length;
		show(this.told, some.length < rows.length);
		setText(this.told, `${f.count(some.length)} of ${f.count(rows.length)} ${this.what} are shown`);
		show(this.button, more > 0);
		setText(this.button, `Show ${f.count(Math.min(more, MORE_SHOWN))} more`);
		return some;
	}
}

const ORDER = {bad: 0, wait: 1, ok: 2, idle: 3};

// Trouble first, then by name.
function edgeRows() {
	const newest = newestWatermarks(now.edges), wanted = $("edges-filter").value.trim().toLowerCase();
	const rows = now.edges.filter((e) => !wanted || e.name.toLowerCase().includes(wanted) || e.state.includes(wanted));
	const weight = (e) => edgeFinding(e) ? (edgeFinding(e)[0] === "bad" ? 0 : 1) : ORDER[f.kindOf(e.state)];
	const weighed = rows.map((e) => ({...e, lag: lagOf(e, newest), weight: weight(e)}));
	return weighed.sort((a, b) => a.weight - b.weight || (a.name < b.name ? -1 : 1));
}

function renderEdges() {
	if (!now.edges) return;
	const rows = edgeRows();
	tables.edges.setColumns(edgeColumns);
	tables.edges.update(some.edges.of(rows), (e) => e.name);
	show($("edges-table"), rows.length > 0);
	show($("edges-empty"), !rows.length);
	setText($("edges-empty"), now.edges.length ? "No edge has such a name or state." : "No edge is in the topology.");
}

function renderStreams() {
	if (!now.streams) return;
	const rows = now.streams.filter((s) => s.phase !== "retired").sort((a, b) => a.name < b.name ? -1 : a.name > b.name ? 1 : a.version - b.version);
	tables.streams.setColumns(streamColumns);
	tables.streams.update(some.streams.of(rows), keyOf);
	show($("streams-table"), rows.length > 0);
	show($("streams-empty"), !rows.length);
	setText($("streams-empty"), "No stream is in the topology.");
}

// Trouble first, then by name.
function renderSinks() {
	if (!now.sinks) return;
	const {sinks, unanswered} = now.sinks;
	tables.sinks.setColumns(sinkColumns);
	tables.sinks.update([...sinks].sort((a, b) => ORDER[f.kindOf(a.state)] - ORDER[f.kindOf(b.state)] || (a.name < b.name ? -1 : 1)), (s) => s.name);
	show($("sinks-block"), sinks.length > 0);
	show($("sinks-unanswered"), unanswered.length > 0);
	setText($("sinks-unanswered"), `Without what ${f.someNames(unanswered, 3)} ${unanswered.length > 1 ? "deliver" : "delivers"}: no answer.`);
}

function nodeRows(c) {
	return c.nodes.map((n) => {
		const replicas = c.shards.map((s) => s.replicas.find((r) => r.node === n.name)).filter(Boolean);
		return {...n, leads: c.shards.filter((s) => s.leader === n.name).length, replicas: replicas.length, behind: Math.max(0, ...replicas.map((r) => r.lag ?? 0)),
			meta: c.meta.leader === n.name, asked: c.asked === n.name};
	});
}

function addressParts(n) {
	const fits = /^[\w.-]+:\d+$/.test(n.http || "") && !n.http.startsWith("0.0.0.0:");
	return [fits ? {text: n.http, href: `${location.protocol}//${n.http}/`} : {text: n.http || "–"}];
}

const nodeColumns = [
	{title: "Node", head: true, cell: (n) => [{text: n.name, isolate: true}, ...(n.asked ? [{class: "why", text: " asked"}] : [])]},
	{title: "State", cell: (n) => [...f.stateParts(n.state), ...(n.membership === "member" ? [] : [{class: "why", text: " " + n.membership}])]},
	{title: "Leads", number: true, cell: (n) => [f.count(n.leads) + (n.meta ? " and meta" : "")]},
	{title: "Replicas", number: true, cell: (n) => [f.count(n.replicas)]},
	{title: "Behind", number: true, hint: "committed entries that its furthest-behind replica lacks", cell: (n) => [n.state === "up" ? {text: f.count(n.behind), class: n.behind ? null : "quiet"} : {text: "–", class: "quiet"}]},
	{title: "HTTP", cell: addressParts},
];

function replicaParts(shard, node) {
	const r = shard.replicas.find((x) => x.node === node);
	if (!r) return [""];
	const say = (name, text, words) => [{class: "rep rep-" + name, text, title: `${words}, applied ${f.count(r.applied)}`}, {class: "visually-hidden", text: " " + words}];
	if (r.role === "unreachable") return say("away", "×", "unreachable");
	if (r.role === "learner" || r.role === "forming") return say("learner", "…", r.role);
	if (r.role === "leader" || shard.leader === node) return say("leader", "L", "leader");
	return r.lag > BEHIND_ENTRIES ? say("behind", "+" + f.count(r.lag), "behind") : say("follower", "F", r.role);
}

function shardColumns(c) {
	return [
		{title: "Shard", head: true, cell: (s) => [String(s.shard)]},
		{title: "Leader", cell: (s) => [s.leader ? {text: s.leader, isolate: true} : {state: "bad", text: "none"}, ...(s.leader && !s.quorum ? [{state: "bad", text: "no quorum"}] : []),
			...(s.leader && s.quorum && !s.settled ? [{class: "why", text: " moving"}] : [])]},
		{title: "Term", number: true, cell: (s) => [s.term === null ? "–" : f.count(s.term)]},
		...c.nodes.map((n) => ({title: n.name, cell: (s) => replicaParts(s, n.name)})),
	];
}

const shardWeight = (s) => !s.leader || !s.quorum ? 0 : !s.settled || s.replicas.some((r) => r.role === "unreachable" || r.lag > BEHIND_ENTRIES) ? 1 : 2;

function renderCluster() {
	if (!now.cluster) return;
	const c = now.cluster, all = [{...c.meta, shard: "meta"}, ...c.shards];
	const rows = some.shards.of(all.length <= some.shards.shown ? all : [...all].sort((a, b) => shardWeight(a) - shardWeight(b)));
	tables.nodes.setColumns(nodeColumns);
	tables.nodes.update(nodeRows(c), (n) => n.name);
	tables.shards.setColumns(shardColumns(c));
	tables.shards.update(rows, (s) => String(s.shard));
	fill($("cluster-name"), [{text: c.name, isolate: true}]);
	const title = `${c.name} – Weir`;
	if (document.title !== title) document.title = title;
}

let tables = null, some = null;
export function render() {
	cardEdges();
	cardClouds();
	cardStreams();
	renderFindings();
	renderStreams();
	renderSinks();
	renderEdges();
	renderCluster();
}

export function open() {
	tables = {
		streams: new Table($("streams-table"), "Streams, with rate, watermark and what was dropped"),
		sinks: new Table($("sinks-table"), "Sinks, those that fail first"),
		edges: new Table($("edges-table"), "Edges, those in trouble first"),
		nodes: new Table($("nodes-table"), "Nodes of the cloud"),
		shards: new Table($("shards-table"), "Shards and their replicas, by node"),
	};
	some = {
		streams: new Some("streams", "streams", STREAMS_SHOWN, renderStreams),
		edges: new Some("edges", "edges", EDGES_SHOWN, renderEdges),
		shards: new Some("shards", "shards", SHARDS_SHOWN, renderCluster),
	};
	$("edges-filter").addEventListener("input", renderEdges);
}
