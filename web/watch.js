// Server-sent events of a stream, by fetch: the browser's own EventSource cannot send a token. Comes back by itself, with the last
// event's id, so that nothing is missed while the server keeps it.

import {headers} from "./api.js";

const BACK_MS = [500, 1000, 2000, 5000];
const SILENCE_MS = 40000; // the server says something each 15 s
const LINE_MAX = 4 * 1024 * 1024;

// Lines of the event stream to events: {id, event, data}.
export class Events {
	constructor(onEvent) {
		this.onEvent = onEvent;
		this.rest = "";
		this.clear();
	}

	clear() {
		this.event = "";
		this.data = [];
	}

	feed(text) {
		this.rest += text;
		const lines = this.rest.split("\n");
		this.rest = lines.pop();
		if (this.rest.length > LINE_MAX) throw new Error("an event is too long");
		lines.forEach((line) => this.line(line.endsWith("\r") ? line.slice(0, -1) : line));
	}

	line(line) {
		if (line === "") {
			this.id = this.nextId ?? this.id; // it is behind this event: one that was half here comes again
			if (this.data.length || this.event) this.onEvent({event: this.event || "message", data: this.data.join("\n")});
			this.clear();
			return;
		}
		const colon = line.indexOf(":");
		if (colon === 0) return;
		const name = colon < 0 ? line : line.slice(0, colon);
		const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
		if (name === "data") this.data.push(value);
		else if (name === "event") this.event = value;
		else if (name === "id") this.nextId = value;
	}
}

// where: [[tag, value]]. on: {row(row), reset(), state("connecting" | "live" | "waiting", sinceMs)}
export class Watch {
	constructor(stream, where, on) {
		this.path = "/api/v1/watch?" + new URLSearchParams([["stream", stream], ...where.map(([tag, value]) => ["where", `${tag}=${value}`])]);
		this.on = on;
		this.id = null;
		this.tries = 0;
		this.sinceMs = null;
		this.closed = false;
		this.run();
	}

	close() {
		this.closed = true;
		this.abort?.abort();
		clearTimeout(this.timer);
	}

	// It takes up where it ended, as long as the server keeps that.
	async run() {
		while (!this.closed) {
			this.on.state(this.sinceMs === null ? "connecting" : "waiting", this.sinceMs);
			try {
				await this.follow();
			} catch {
				// whatever it was, the next try tells
			}
			if (this.closed) return;
			this.sinceMs = this.sinceMs ?? Date.now();
			this.on.state("waiting", this.sinceMs);
			const wait = BACK_MS[Math.min(this.tries++, BACK_MS.length - 1)];
			await new Promise((f) => { this.timer = setTimeout(f, wait); });
		}
	}

	async follow() {
		this.abort = new AbortController();
		let silence = setTimeout(() => this.abort.abort(), SILENCE_MS);
		try {
			const more = {Accept: "text/event-stream"};
			if (this.id) more["Last-Event-ID"] = this.id;
			const response = await fetch(this.path, {headers: headers(more), credentials: "omit", cache: "no-store",
				signal: this.abort.signal});
			if (response.status === 400) this.id = null; // not this stream's any more
			if (!response.ok) return;
			const events = new Events((e) => this.take(e));
			const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
			this.tries = 0;
			this.sinceMs = null;
			this.on.state("live", null);
			for (;;) {
				const {done, value} = await reader.read();
				if (done) return;
				clearTimeout(silence);
				silence = setTimeout(() => this.abort.abort(), SILENCE_MS);
				events.feed(value);
				this.id = events.id ?? this.id;
			}
		} finally {
			clearTimeout(silence);
		}
	}

	take(e) {
		if (this.closed) return;
		if (e.event === "reset") this.on.reset();
		else if (e.data) this.on.row(JSON.parse(e.data));
	}
}
