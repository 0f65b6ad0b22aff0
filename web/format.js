// Numbers, times and states as people read them.

import {prefs} from "./state.js";

const grouped = new Intl.NumberFormat("en-US", {maximumFractionDigits: 0});
const precise = new Intl.NumberFormat("en-US", {maximumSignificantDigits: 6});
const NONE = "–";

export function count(n) {
	if (typeof n !== "number") return NONE;
	const units = [[1e12, " T"], [1e9, " G"], [1e6, " M"]];
	for (const [size, unit] of units) if (Math.abs(n) >= size * 10) return (n / size).toFixed(n >= size * 100 ? 1 : 2) + unit;
	return grouped.format(n);
}

// What a window holds: six digits are more than a chart shows; the title has all.
export function value(x) {
	if (typeof x !== "number") return NONE;
	const size = Math.abs(x);
	return size !== 0 && (size >= 1e12 || size < 1e-4) ? x.toExponential(4) : precise.format(x);
}

export function rate(perSecond) {
	if (typeof perSecond !== "number") return "…";
	if (perSecond === 0) return "0/s";
	if (perSecond < 10) return perSecond.toFixed(1) + "/s";
	return perSecond < 1e4 ? grouped.format(perSecond) + "/s" : count(Math.round(perSecond / 100) * 100) + "/s";
}

export function bytes(n) {
	if (typeof n !== "number") return NONE;
	const units = ["B", "KiB", "MiB", "GiB", "TiB"];
	let i = 0;
	for (; n >= 1024 && i < units.length - 1; i++) n /= 1024;
	return (i === 0 || n >= 100 ? Math.round(n) : n.toFixed(1)) + " " + units[i];
}

export function duration(ms) {
	if (typeof ms !== "number" || !isFinite(ms)) return NONE;
	const s = Math.max(0, ms) / 1000;
	if (s < 60) return s.toFixed(s < 10 ? 1 : 0) + " s";
	const m = Math.floor(s / 60);
	if (m < 60) return `${m} min ${Math.floor(s % 60)} s`;
	const hours = Math.floor(m / 60);
	if (hours < 48) return `${hours} h ${m % 60} min`;
	const days = Math.floor(hours / 24);
	return days < 800 ? `${days} d ${hours % 24} h` : `${(days / 365.25).toFixed(1)} years`;
}

// "1m30s" of a topology or an answer, in milliseconds; NaN: it is none
export function parseDuration(text) {
	const units = {ns: 1e-6, us: 1e-3, ms: 1, s: 1e3, m: 6e4, h: 36e5, d: 864e5, w: 6048e5};
	let total = 0, rest = text.trim();
	if (!rest) return NaN;
	while (rest) {
		const m = /^(\d+(?:\.\d+)?)(ns|us|ms|s|m|h|d|w)/.exec(rest);
		if (!m) return NaN;
		total += Number(m[1]) * units[m[2]];
		rest = rest.slice(m[0].length);
	}
	return total;
}

export function formatDuration(ms) {
	for (const [unit, size] of [["d", 864e5], ["h", 36e5], ["m", 6e4], ["s", 1e3]])
		if (ms >= size && ms % size === 0) return ms / size + unit;
	return ms + "ms";
}

export function parseTime(text) {
	return text === null || text === undefined ? null : Date.parse(text);
}

const two = (n) => String(n).padStart(2, "0");

// of milliseconds since the epoch
export function time(ms, what = "full") {
	if (ms === null || ms === undefined || !isFinite(ms)) return NONE;
	const d = new Date(ms), utc = prefs.zone === "utc";
	const get = (name) => d[(utc ? "getUTC" : "get") + name]();
	const day = `${get("FullYear")}-${two(get("Month") + 1)}-${two(get("Date"))}`;
	const part = ms % 1000 ? "." + String(get("Milliseconds")).padStart(3, "0") : "";
	const clock = `${two(get("Hours"))}:${two(get("Minutes"))}:${two(get("Seconds"))}${part}`;
	if (what === "clock") return clock;
	return `${day} ${clock}${utc ? "Z" : ""}`;
}

// In whole seconds; today's times without the day.
export function timeShort(exactMs, now) {
	const ms = exactMs === null ? null : Math.floor(exactMs / 1000) * 1000;
	return ms !== null && Math.abs(now - ms) < 12 * 36e5 ? time(ms, "clock") + (prefs.zone === "utc" ? "Z" : "") : time(ms);
}

// Whether it means good, waiting or bad; the shape of the mark says it, too.
const KINDS = {
	live: "ok", up: "ok", member: "ok", current: "ok", final: "ok",
	idle: "idle", retired: "idle", ended: "idle",
	joining: "wait", "catching up": "wait", catching_up: "wait", backpressured: "wait", leaving: "wait", pending: "wait", closing: "wait",
	provisional: "wait", open: "idle",
	delivers: "ok", failing: "bad",
	partitioned: "bad", unreachable: "bad", foreign: "bad", dead: "bad", firing: "bad",
};
export const kindOf = (state) => KINDS[state] || "wait";
export const stateParts = (state) => [{state: kindOf(state), text: String(state).replace(/_/g, " ")}];

// The first few of a list of names.
export const someNames = (names, max) => names.slice(0, max).join(", ") + (names.length > max ? ` and ${count(names.length - max)} more` : "");

export const groupText = (group) => {
	const entries = Object.entries(group);
	return entries.length ? entries.map(([k, v]) => `${k}=${v}`).join(", ") : "all together";
};
export const groupKey = (group) => JSON.stringify(Object.entries(group).sort(([a], [b]) => a < b ? -1 : 1));
