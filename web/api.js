// Asking the node that served the page. Every request is bounded in time; what fails is remembered, so that the page can say since
// when the node has not answered.

import {setToken, token} from "./state.js";

const TIMEOUT_MS = 10000;

export class ApiError extends Error {
	constructor(status, code, message) {
		super(message);
		this.status = status;
		this.code = code;
	}
}

// lastMs, sinceMs: of this browser's clock. Null: never, or it answers.
export const health = {lastMs: null, sinceMs: null, message: ""};
const listeners = new Set();
export const onHealth = (f) => listeners.add(f);
const unauthorised = new Set();
export const onUnauthorised = (f) => unauthorised.add(f);

function note(failedMs, message) {
	health.message = message || "";
	if (failedMs !== null) {
		health.sinceMs = health.sinceMs ?? failedMs;
	} else {
		health.sinceMs = null;
		health.lastMs = Date.now();
	}
	listeners.forEach((f) => f());
}

// The server's clock, by the Date of its answers (whole seconds): used where this machine's is further off than that.
let aheadMs = 0;
function noteDate(response, askedMs) {
	const server = Date.parse(response.headers.get("Date") || "");
	if (!isFinite(server)) return;
	const here = (askedMs + Date.now()) / 2, off = server + 500 - here;
	aheadMs = Math.abs(off) > 2000 ? off : 0;
}
export const serverNow = () => Date.now() + aheadMs;

export function headers(more) {
	return token() ? {Authorization: "Bearer " + token(), ...more} : {...more};
}

async function errorOf(response) {
	let code = "http_" + response.status, message = response.statusText || "HTTP " + response.status;
	try {
		const body = await response.json();
		code = body.error.code;
		message = body.error.message;
	} catch {
		// not ours: a proxy's, perhaps
	}
	return new ApiError(response.status, code, message);
}

export function told(error) {
	if (error.status === 403) return "This token may not do that: " + error.message;
	if (error.status === 429) return "Too many wrong tokens came from this address: wait a minute, then try again";
	return error.message;
}

// Throws ApiError for an answer that is one, and for none (status 0).
export async function get(path, {signal, timeoutMs = TIMEOUT_MS} = {}) {
	const limit = new AbortController();
	const timer = setTimeout(() => limit.abort(), timeoutMs);
	const stop = () => limit.abort();
	signal?.addEventListener("abort", stop);
	const askedMs = Date.now();
	try {
		// No cookies, no passwords that the browser keeps, and no window of it that asks for one.
		const response = await fetch(path, {headers: headers({Accept: "application/json"}), credentials: "omit", cache: "no-store", signal: limit.signal});
		noteDate(response, askedMs);
		if (!response.ok) {
			const error = await errorOf(response);
			note(null);
			if (error.status === 401) unauthorised.forEach((f) => f(error));
			throw error;
		}
		const body = await response.json();
		note(null);
		return body;
	} catch (e) {
		if (e instanceof ApiError) throw e;
		if (signal?.aborted) throw new ApiError(0, "aborted", "no longer asked for");
		const error = new ApiError(0, "unreachable", limit.signal.aborted ? `no answer within ${timeoutMs / 1000} s` : "the node does not answer");
		note(askedMs, error.message);
		throw error;
	} finally {
		clearTimeout(timer);
		signal?.removeEventListener("abort", stop);
	}
}

// Whether the token (null: none) opens the door.
export async function tryToken(text) {
	const before = token();
	setToken(text);
	try {
		await get("/api/v1/streams");
	} catch (e) {
		if (e.status === 401 || e.status === 403 || e.status === 429) {
			setToken(before);
			throw e;
		}
	}
}

export const streams = {all: [], byName: new Map()};
// One entry for each name: the version that answers now.
export async function loadStreams() {
	const answer = await get("/api/v1/streams");
	const rank = (s) => ["current", "pending", "closing", "ended", "retired"].indexOf(s.phase);
	streams.byName = new Map();
	for (const s of answer.streams) {
		const other = streams.byName.get(s.name);
		if (!other || rank(s) < rank(other)) streams.byName.set(s.name, s);
	}
	streams.all = answer.streams;
	return answer.streams;
}
export const canQuantile = (stream) => stream.compute.some((f) => /^p\d/.test(f));
