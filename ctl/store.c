/* store: what lies on the disk of a daemon that is stopped. Needs no cluster and no topology, and changes nothing. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cloudd/dump.h"
#include "common/clock.h"
#include "common/err.h"
#include "common/kv_check.h"
#include "common/model.h"
#include "common/record_json.h"
#include "ctl/ctl.h"
#include "edged/dump.h"

enum owner { OWNER_UNKNOWN, OWNER_CLOUD, OWNER_EDGE };

struct store {
	bool json;
	const char *only; /* database; NULL: all */
	bool hex;         /* values as they are */
	struct dump *dump; /* what was learnt of a cloudd's records; NULL: only checked */
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

static bool is_spool(const char *db)
{
	return !strcmp(db, "batch") || !strcmp(db, "delta") || !strcmp(db, "step") || !strcmp(db, "mark");
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
static void put_raw(struct store *s, struct bytes key, struct bytes value)
{
	buf_printf(&s->out, ", \"key_text\": ");
	put_text(&s->out, key);
	buf_printf(&s->out, ", \"bytes\": %zu, \"value\": ", value.n);
	hex_json(&s->out, value);
}

/* What does not decode, though it is as it was written, is given as it is, with the reason. */
static void put_decoded(struct store *s, const char *name, struct bytes key, struct bytes value)
{
	const char *why = "";
	buf_printf(&s->out, ", \"bytes\": %zu", value.n);
	bool fine = is_spool(name) ? spool_dump_record(name, key, value, &s->out, &why)
				   : dump_record(s->dump, name, key, value, &s->out, &why);
	if (fine)
		return;
	buf_printf(&s->out, ", \"unreadable\": ");
	put_text(&s->out, bytes_of(why, strlen(why)));
	buf_printf(&s->out, ", \"raw\": ");
	hex_json(&s->out, value);
}

static int dump_one(void *arg, unsigned db, const char *name, struct bytes key, struct bytes value)
{
	struct store *s = arg;
	check_record(arg, db, name, key, value);
	if (s->only && strcmp(s->only, name) != 0)
		return 0;
	buf_printf(&s->out, "{\"db\": ");
	put_text(&s->out, bytes_of(name, strlen(name)));
	buf_printf(&s->out, ", \"key\": ");
	hex_json(&s->out, key);
	if (s->hex)
		put_raw(s, key, value);
	else
		put_decoded(s, name, key, value);
	buf_printf(&s->out, "}\n");
	s->printed++;
	ctl_print(&s->out);
	return 0;
}

/* What the lost record, or the first of the lost ones, was. */
static void say_lost(struct store *s, const struct kv_damage *d)
{
	if (!s->dump || s->hex || !d->low.n || !d->db[0])
		return;
	if (is_spool(d->db))
		(void)spool_dump_key(d->db, d->low, &s->out);
	else
		(void)dump_key(s->dump, d->db, d->low, &s->out);
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
		hex_json(&s->out, d->low);
		say_lost(s, d);
		buf_printf(&s->out, "}\n");
	} else {
		buf_printf(&s->out, "%s; page %llu%s%s", d->what, (unsigned long long)d->page, d->db[0] ? ", database " : "",
		    d->db);
		if (d->low.n) {
			buf_printf(&s->out, d->record ? ", key " : ", keys from ");
			hex_json(&s->out, d->low);
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

static int look(const char *path, struct store *s)
{
	struct kv_check_options o = {.path = path, .arg = s, .record = s->dump ? dump_one : check_record, .damage = say_damage};
	struct kv_check_result r;
	char *why = NULL;
	int64_t began_ns = clock_mono_ns();
	int rc = kv_check(&o, &r, &why);
	double seconds = (double)(clock_mono_ns() - began_ns) / NS_PER_SEC;
	if (rc)
		ctl_error("%s", why ? why : err_text(rc));
	else if (!s->dump)
		say_result(s, &r, seconds);
	buf_free(&s->out);
	free(why);
	return rc || s->damaged ? EXIT_FAILED : EXIT_FINE;
}

static int run_store_check(struct ctl *ctl, const struct args *args)
{
	struct store s = {.json = ctl->format == FORMAT_JSON};
	return look(args->words[0], &s);
}

#define DB_NAME_MAX 32

/* The database of a group's number. */
static bool group_db(const char *text, char room[DB_NAME_MAX])
{
	char *end;
	errno = 0;
	unsigned long n = strtoul(text, &end, 10);
	if (errno || *text < '0' || *text > '9' || *end || n > SHARDS_MAX)
		return false;
	snprintf(room, DB_NAME_MAX, "group-%03lu", n);
	return true;
}

static int run_store_dump(struct ctl *ctl, const struct args *args)
{
	char room[DB_NAME_MAX];
	const char *group = args_get(args, "group");
	struct store s = {.json = true, .only = args_get(args, "db"), .hex = args_get(args, "hex")};
	(void)ctl;
	if (group && s.only)
		return ctl_bad_use(&command_store_dump, "--group and --db exclude each other");
	if (group && !group_db(group, room))
		return ctl_bad_use(&command_store_dump, "--group: \"%s\" is not a group's number (0: the meta group; shard s is group s + 1)",
		    group);
	if (group)
		s.only = room;
	s.dump = dump_new();
	int code = look(args->words[0], &s);
	dump_free(s.dump);
	return code;
}

const struct command command_store_check = {
	.name = "store check", .words = "PATH", .summary = "check the data of a daemon that is stopped",
	.help = "PATH is a spool, a cloudd's log or state folder, or a data.mdb file that was set aside. Every page and every\n"
		"record is checked; nothing is changed. Exits 1 where anything is damaged.\n\n"
		"  weirctl store check run/cloud-1/state\n"
		"  weirctl store check run/cloud-1/state/data.mdb.damaged\n",
	.words_min = 1, .words_max = 1, .offline = true, .run = run_store_check};

static const struct arg_option dump_options[] = {
	{"group", 0, "N", false, "only this group of a cloudd: 0 is the meta group, shard s is group s + 1"},
	{"db", 0, "NAME", false, "only this database (group-001, node; batch, delta, step, mark)"},
	{"hex", 0, NULL, false, "values as hexadecimal text, not what they say"},
};

const struct command command_store_dump = {
	.name = "store dump", .words = "PATH", .summary = "print the records of a daemon that is stopped",
	.help = "One JSON object for each record, in the order of keys: its database, its key, what it is (`what`) and what it says: entries of\n"
		"the log with their batches, partials, maps, marks. Of what is damaged, where it was, what it was and why it does not read; a\n"
		"record that is whole and that this version does not know has `unreadable` and its bytes. Nothing is changed. See store check.\n\n"
		"  weirctl store dump run/edge-1/spool --db mark\n"
		"  weirctl store dump run/cloud-1/log --group 0\n"
		"  weirctl store dump run/cloud-1/state --group 3 | jq -c .what\n",
	.options = dump_options, .option_count = 3, .words_min = 1, .words_max = 1, .offline = true, .run = run_store_dump};
