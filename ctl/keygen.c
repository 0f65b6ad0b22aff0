/* keygen: the key pairs of a topology's daemons, and new ones in the place of old ones. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/err.h"
#include "common/keys.h"
#include "common/secret.h"
#include "common/topology.h"
#include "ctl/ctl.h"
#include "ctl/keygen_tls.h"

static const struct arg_option options[] = {
	{"config", 'c', "FILE", false, "the topology whose nodes and edges need keys"},
	{"out", 0, "DIR", false, "the folder of the keys (default: cluster.security.keys of the topology)"},
	{"rotate", 0, "NODE", false, "make a new key for NODE; the one before it stays allowed"},
	{"retire", 0, "NODE", false, "end a rotation: only NODE's present key stays allowed"},
};

struct keygen {
	const struct topology *t; /* NULL with --out and without --config */
	const char *dir;
	unsigned made, there;
};

static char *path_of(const struct keygen *k, const char *name, const char *tail)
{
	return xasprintf("%s/%s%s", k->dir, name, tail);
}

/* Tells why, and frees it. */
static int fail(char *why)
{
	ctl_error("%s", why);
	free(why);
	return EXIT_FAILED;
}

/* ---- files ------------------------------------------------------------------------------------------------------ */

static int write_key(const struct keygen *k, const char *name, const char *tail, const struct key_text *secret, bool fresh)
{
	char *path = path_of(k, name, tail), *why = NULL;
	struct buf text = {0};
	buf_printf(&text, "%s\n", secret->text);
	int rc = secret_write(path, text.data, text.len, fresh, &why);
	secret_free(&text);
	free(path);
	return rc ? fail(why) : EXIT_FINE;
}

static int write_pub(const struct keygen *k, const char *name, const struct key_text *keys, size_t count)
{
	char *path = path_of(k, name, ".pub"), *why = NULL;
	struct buf text = {0};
	buf_printf(&text, "# public keys of %s, the newest first\n", name);
	for (size_t i = 0; i < count; i++)
		buf_printf(&text, "%s\n", keys[i].text);
	int rc = secret_write(path, text.data, text.len, false, &why);
	if (!rc && chmod(path, 0644)) {
		why = xasprintf("%s: %s", path, strerror(errno));
		rc = WEIR_EIO;
	}
	buf_free(&text);
	free(path);
	return rc ? fail(why) : EXIT_FINE;
}

static bool exists(const struct keygen *k, const char *name, const char *tail)
{
	char *path = path_of(k, name, tail);
	struct stat st;
	bool there = !lstat(path, &st);
	free(path);
	return there;
}

static int read_key(const struct keygen *k, const char *name, struct key_text *ret_public, struct key_text *ret_secret)
{
	char *path = path_of(k, name, ".key"), *why = NULL;
	struct buf text = {0};
	size_t count = 0;
	unsigned line;
	int result = EXIT_FINE;
	if (secret_read_as_tool(path, &text, &why))
		result = fail(why);
	else if (keys_parse(bytes_of(text.data, text.len), ret_secret, 1, &count, &line) || !count ||
	    key_public(ret_secret, ret_public))
		result = fail(xasprintf("%s holds no secret key", path));
	secret_free(&text);
	free(path);
	return result;
}

static int read_pub(const struct keygen *k, const char *name, struct key_text keys[KEYS_PER_NAME_MAX], size_t *ret_count)
{
	char *path = path_of(k, name, ".pub");
	char text[KEYS_FILE_MAX];
	unsigned line = 0;
	FILE *f = fopen(path, "re");
	size_t n = f ? fread(text, 1, sizeof(text), f) : 0;
	int result = EXIT_FINE;
	if (!f || ferror(f))
		result = fail(xasprintf("%s: %s", path, strerror(errno)));
	else if (keys_parse(bytes_of(text, n), keys, KEYS_PER_NAME_MAX, ret_count, &line))
		result = fail(xasprintf("%s: line %u is no public key, or one too many (at most %d)", path, line, KEYS_PER_NAME_MAX));
	if (f)
		fclose(f);
	free(path);
	return result;
}

/* ---- new ones ----------------------------------------------------------------------------------------------------- */

/* Never over what is there. A .pub alone is that of a daemon whose key is elsewhere. */
static int make_pair(struct keygen *k, const char *name)
{
	struct key_text public, secret;
	bool key = exists(k, name, ".key"), pub = exists(k, name, ".pub");
	int result = EXIT_FINE;
	if (pub) {
		k->there++;
		return EXIT_FINE;
	}
	if (key) {
		result = read_key(k, name, &public, &secret);
	} else {
		key_make(&public, &secret);
		result = write_key(k, name, ".key", &secret, true);
	}
	explicit_bzero(&secret, sizeof(secret));
	if (!result)
		result = write_pub(k, name, &public, 1);
	k->made += !result;
	return result;
}

/* What HTTP needs beside: certificates. only: NULL for all. */
static int make_certificates(const struct keygen *k, const char *only)
{
	struct keygen_tls tls = {.dir = k->dir, .only = only};
	struct buf told = {0}, error = {0};
	int rc = keygen_tls(k->t, &tls, &told, &error);
	ctl_print(&told);
	if (rc)
		ctl_error("%s", buf_cstr(&error));
	buf_free(&told);
	buf_free(&error);
	return rc ? EXIT_FAILED : EXIT_FINE;
}

static bool is_known(const struct topology *t, const char *name)
{
	return topology_cloud(t, name) >= 0 || topology_edge(t, name) >= 0;
}

static int make_named(struct keygen *k, const struct args *args)
{
	int result = EXIT_FINE;
	for (size_t i = 0; i < args->word_count && !result; i++) {
		const char *name = args->words[i];
		result = is_known(k->t, name) ? make_pair(k, name)
		                              : ctl_bad_use(&command_keygen, "%s has no node or edge called `%s`", k->t->path, name);
		if (!result)
			result = make_certificates(k, name);
	}
	return result;
}

static int make_all(struct keygen *k)
{
	int result = EXIT_FINE;
	for (size_t i = 0; i < k->t->cloud_count && !result; i++)
		result = make_pair(k, k->t->clouds[i].name);
	for (size_t i = 0; i < k->t->edge_count && !result; i++)
		result = make_pair(k, k->t->edges[i].name);
	return result ? result : make_certificates(k, NULL);
}

static void say_made(const struct keygen *k)
{
	printf("%s: %u pair%s made, %u there already\n", k->dir, k->made, k->made == 1 ? "" : "s", k->there);
	if (!k->made)
		return;
	printf("\nWhat each daemon needs in its own folder of keys:\n"
	       "  a cloud node NAME: NAME.key, every .pub, NAME.tls.key, NAME.tls.crt, and tokens (weirctl token add)\n"
	       "  an edge NAME:      NAME.key, and the .pub of every cloud node:");
	for (size_t i = 0; i < k->t->cloud_count; i++)
		printf(" %s.pub", k->t->clouds[i].name);
	printf("\n                     where it has `http`: NAME.tls.key, NAME.tls.crt and tokens, too\n"
	       "A .key is for its daemon alone (mode 0600, owned by the user it runs as): copy it over a safe way, keep no other\n"
	       "copy. A .pub is no secret. `weirctl check --node NAME FILE` tells on a machine what is missing there.\n");
}

/* ---- rotation ------------------------------------------------------------------------------------------------------- */

static int rotate(struct keygen *k, const char *name)
{
	struct key_text keys[KEYS_PER_NAME_MAX + 1], secret, public;
	size_t count = 0;
	if (exists(k, name, ".key.old")) {
		ctl_error("%s is being rotated already (%s/%s.key.old): --retire %s first", name, k->dir, name, name);
		return EXIT_FAILED;
	}
	int result = read_key(k, name, &public, &secret);
	if (!result)
		result = read_pub(k, name, keys + 1, &count);
	if (!result && count == KEYS_PER_NAME_MAX)
		result = fail(xasprintf("%s has %zu public keys, no more are read: --retire %s first", name, count, name));
	/* In this order nothing is ever used that is not allowed yet, wherever this stops. */
	if (!result)
		result = write_key(k, name, ".key.old", &secret, true);
	if (!result) {
		key_make(&keys[0], &secret);
		result = write_pub(k, name, keys, count + 1);
	}
	if (!result)
		result = write_key(k, name, ".key", &secret, false);
	explicit_bzero(&secret, sizeof(secret));
	if (result)
		return result;
	printf("%s has a new key. Where daemons have folders of their own: copy %s.pub to all who need it, then %s.key to %s.\n"
	       "They take it up within a second or so, without a restart. When all have: weirctl keygen --retire %s, and copy %s.pub\n"
	       "once more; from then on the old key (%s.key.old until then) is refused.\n",
	    name, name, name, name, name, name, name);
	return EXIT_FINE;
}

static int retire(struct keygen *k, const char *name)
{
	struct key_text keys[KEYS_PER_NAME_MAX], secret, public = {{0}};
	size_t count = 0;
	bool has_key = exists(k, name, ".key");
	int result = read_pub(k, name, keys, &count);
	if (!result && has_key)
		result = read_key(k, name, &public, &secret);
	explicit_bzero(&secret, sizeof(secret));
	if (!result && !count)
		result = fail(xasprintf("%s has no public key", name));
	if (!result)
		result = write_pub(k, name, has_key ? &public : &keys[0], 1);
	char *old = path_of(k, name, ".key.old");
	if (!result && unlink(old) && errno != ENOENT)
		result = fail(xasprintf("%s: %s", old, strerror(errno)));
	free(old);
	if (!result)
		printf("%s: only its newest key is allowed; %s.pub is for all who need it\n", name, name);
	return result;
}

/* ---- the command ---------------------------------------------------------------------------------------------------- */

/* 0700, unless it is there. */
static int make_folder(const char *dir)
{
	if (!mkdir(dir, 0700) || errno == EEXIST)
		return EXIT_FINE;
	return fail(xasprintf("%s: %s", dir, strerror(errno)));
}

static int work(struct keygen *k, const struct args *args)
{
	const char *rotated = args_get(args, "rotate"), *retired = args_get(args, "retire");
	if ((rotated && retired) || ((rotated || retired) && args->word_count))
		return ctl_bad_use(&command_keygen, "one of: NAME..., --rotate NAME, --retire NAME");
	if (rotated || retired) {
		const char *name = rotated ? rotated : retired;
		if (k->t && !is_known(k->t, name))
			return ctl_bad_use(&command_keygen, "%s has no node or edge called `%s`", k->t->path, name);
		if (strchr(name, '/'))
			return ctl_bad_use(&command_keygen, "`%s` is no name", name);
		return rotated ? rotate(k, name) : retire(k, name);
	}
	if (!k->t)
		return ctl_bad_use(&command_keygen, "--config is missing: it says who needs keys");
	int result = make_folder(k->dir);
	if (!result)
		result = args->word_count ? make_named(k, args) : make_all(k);
	if (!result)
		say_made(k);
	return result;
}

static int run_keygen(struct ctl *ctl, const struct args *args)
{
	(void)ctl;
	const char *config = args_get(args, "config"), *out = args_get(args, "out");
	struct topology *t = NULL;
	struct buf errors = {0};
	if (config && topology_load(config, &t, &errors)) {
		fputs(buf_cstr(&errors), stderr);
		buf_free(&errors);
		return EXIT_USE;
	}
	struct keygen k = {.t = t, .dir = out ? out : t ? t->keys_dir : NULL};
	int result = k.dir ? work(&k, args)
	    : t            ? ctl_bad_use(&command_keygen, "%s has `security: none`: give it `security: {keys: DIR}`, or --out DIR", config)
	                   : ctl_bad_use(&command_keygen, "--config or --out is missing");
	topology_free(t);
	return result;
}

const struct command command_keygen = {
	.name = "keygen", .words = "[NODE...]", .summary = "make the keys of a cluster's daemons; needs no cluster",
	.help = "Makes a key pair for each node and edge of the topology (or for those named) that has none: NODE.key (secret, mode\n"
		"0600) and NODE.pub. Nothing that is there is overwritten. Daemons find them in the folder `cluster.security.keys`.\n\n"
		"What next: to each machine its own NODE.key and the folder's *.pub, and a token for people (`weirctl token add`).\n\n"
		"To change a key without an interruption, rotate it, and retire the old one when all daemons have the new NODE.pub.\n"
		"To shut a daemon out, delete its NODE.pub (within a second), or `weirctl edge revoke NODE`.\n\n"
		"  weirctl keygen --config topology.yaml\n"
		"  weirctl keygen --config topology.yaml --out /root/keys edge-7\n"
		"  weirctl keygen --config topology.yaml --rotate edge-7\n"
		"  weirctl keygen --config topology.yaml --retire edge-7\n",
	.options = options, .option_count = sizeof(options) / sizeof(options[0]),
	.words_min = 0, .words_max = 10000, .offline = true, .run = run_keygen};
