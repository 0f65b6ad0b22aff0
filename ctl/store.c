/* store: what lies on the disk of a daemon that is stopped. Needs no cluster and no topology, and changes nothing. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/err.h"
#include "common/kv_check.h"
#include "ctl/ctl.h"

enum owner { OWNER_UNKNOWN, OWNER_CLOUD, OWNER_EDGE };

struct store {
	bool json;
	const char *only; /* database; NULL: all */
	uint64_t printed, damaged;
	bool groups, batches; /* databases that tell whose it is */
	uint64_t bytes;
	struct buf out;
};

static void put_text(struct buf *b, struct bytes s)
{
	buf_printf(b, "\"");
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '"' || s.p[i] == '\\')
			buf_printf(b, "\\%c", s.p[i]);
		else if (s.p[i] >= ' ' && s.p[i] < 127)
			buf_u8(b, s.p[i]);
		else
			buf_printf(b, "\\u%04x", s.p[i]);
	}
	buf_printf(b, "\"");
}

static void put_hex(struct buf *b, struct bytes s)
{
	buf_printf(b, "\"");
	for (size_t i = 0; i < s.n; i++)
		buf_printf(b, "%02x", s.p[i]);
	buf_printf(b, "\"");
}

static void note_db(struct store *s, const char *name)
{
	s->groups |= !strncmp(name, "group-", 6);
	s->batches |= !strcmp(name, "batch") || !strcmp(name, "mark");
}

static int check_record(void *arg, unsigned db, const char *name, struct bytes key, struct bytes value)
{
	struct store *s = arg;
	(void)db;
	note_db(s, name);
	s->bytes += key.n + value.n;
	return 0;
}

/* Keys are numbers and texts in turn: both ways to read them are given. */
static int dump_record(void *arg, unsigned db, const char *name, struct bytes key, struct bytes value)
{
	struct store *s = arg;
	check_record(arg, db, name, key, value);
	if (s->only && strcmp(s->only, name) != 0)
		return 0;
	buf_printf(&s->out, "{\"db\": ");
	put_text(&s->out, bytes_of(name, strlen(name)));
	buf_printf(&s->out, ", \"key\": ");
	put_hex(&s->out, key);
	buf_printf(&s->out, ", \"key_text\": ");
	put_text(&s->out, key);
	buf_printf(&s->out, ", \"bytes\": %zu, \"value\": ", value.n);
	put_hex(&s->out, value);
	buf_printf(&s->out, "}\n");
	s->printed++;
	ctl_print(&s->out);
	return 0;
}

static void say_damage(void *arg, const struct kv_damage *d)
{
	struct store *s = arg;
	s->damaged++;
	note_db(s, d->db);
	buf_printf(&s->out, s->json ? "{\"damaged\": " : "damaged: ");
	if (s->json) {
		put_text(&s->out, bytes_of(d->what, strlen(d->what)));
		buf_printf(&s->out, ", \"page\": %llu, \"db\": ", (unsigned long long)d->page);
		put_text(&s->out, bytes_of(d->db, strlen(d->db)));
		buf_printf(&s->out, ", \"record\": %s, \"key\": ", d->record ? "true" : "false");
		put_hex(&s->out, d->low);
		buf_printf(&s->out, "}\n");
	} else {
		buf_printf(&s->out, "%s; page %llu%s%s", d->what, (unsigned long long)d->page, d->db[0] ? ", database " : "",
		    d->db);
		if (d->low.n) {
			buf_printf(&s->out, d->record ? ", key " : ", keys from ");
			put_hex(&s->out, d->low);
		}
		buf_printf(&s->out, "\n");
	}
	ctl_print(&s->out);
}

static const char *owner_text(const struct store *s)
{
	return s->groups ? "cloudd (log or state)" : s->batches ? "edged (spool)" : "a daemon that has not written yet";
}

static void say_result(const struct store *s, const struct kv_check_result *r, double seconds)
{
	bool fine = !r->bad_pages && !r->bad_records;
	if (s->json) {
		printf("{\"owner\": \"%s\", \"fine\": %s, \"records\": %llu, \"bad_records\": %llu, \"bad_pages\": %llu, \"pages\": %llu, "
		       "\"used_pages\": %llu, \"free_pages\": %llu, \"seconds\": %.3f}\n",
		    owner_text(s), fine ? "true" : "false", (unsigned long long)r->records, (unsigned long long)r->bad_records,
		    (unsigned long long)r->bad_pages, (unsigned long long)r->pages, (unsigned long long)r->used_pages,
		    (unsigned long long)r->free_pages, seconds);
		return;
	}
	printf("data of %s: %s: %llu records, %llu pages in use, %llu free", owner_text(s), fine ? "fine" : "DAMAGED",
	    (unsigned long long)r->records, (unsigned long long)r->used_pages, (unsigned long long)r->free_pages);
	if (!fine)
		printf("; %llu records and %llu pages do not read", (unsigned long long)r->bad_records,
		    (unsigned long long)r->bad_pages);
	printf("; %.2f s\n", seconds);
}

static int look(struct ctl *ctl, const char *path, const char *only, bool dump)
{
	struct store s = {.json = dump || ctl->format == FORMAT_JSON, .only = only};
	struct kv_check_options o = {.path = path, .arg = &s, .record = dump ? dump_record : check_record, .damage = say_damage};
	struct kv_check_result r;
	char *why = NULL;
	int64_t began_ns = clock_mono_ns();
	int rc = kv_check(&o, &r, &why);
	double seconds = (double)(clock_mono_ns() - began_ns) / NS_PER_SEC;
	if (rc)
		ctl_error("%s", why ? why : err_text(rc));
	else if (!dump)
		say_result(&s, &r, seconds);
	buf_free(&s.out);
	free(why);
	return rc || s.damaged ? EXIT_FAILED : EXIT_FINE;
}

static int run_store_check(struct ctl *ctl, const struct args *args)
{
	return look(ctl, args->words[0], NULL, false);
}

static int run_store_dump(struct ctl *ctl, const struct args *args)
{
	return look(ctl, args->words[0], args_get(args, "db"), true);
}

const struct command command_store_check = {
	.name = "store check", .words = "PATH", .summary = "check the data of a daemon that is stopped",
	.help = "PATH is a spool, a cloudd's log or state folder, or a data.mdb file that was set aside. Every page and every\n"
		"record is checked; nothing is changed. Exits 1 where anything is damaged.\n\n"
		"  weirctl store check run/cloud-1/state\n"
		"  weirctl store check run/cloud-1/state/data.mdb.damaged\n",
	.words_min = 1, .words_max = 1, .offline = true, .run = run_store_check};

static const struct arg_option dump_options[] = {
	{"db", 0, "NAME", false, "only this database (group-001, batch ...)"},
};

const struct command command_store_dump = {
	.name = "store dump", .words = "PATH", .summary = "print the records of a daemon that is stopped",
	.help = "One JSON object for each record, in the order of keys; of what does not read, where it is. See store check.\n\n"
		"  weirctl store dump run/edge-1/spool --db mark\n",
	.options = dump_options, .option_count = 1, .words_min = 1, .words_max = 1, .offline = true, .run = run_store_dump};
