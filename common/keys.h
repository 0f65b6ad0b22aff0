/* The keys of a cluster's links (CURVE25519, as ZeroMQ has them), in a folder:
 *
 *   NAME.key   the secret key of a node or edge: for its owner's eyes only (common/secret.h). Where
 *              $CREDENTIALS_DIRECTORY has NAME.key or weir.key, that is taken instead
 *   NAME.pub   its public keys, the newest first: several while one takes over from another
 *
 * Both hold one key per line in Z85 (40 characters; rfc.zeromq.org/spec/32); empty lines and those that begin with # say
 * nothing. Who holds the secret to a key in NAME.pub is NAME.
 *
 * keys_poll() takes in what has changed since: a file that is gone is gone; one that is broken, or of which others than its
 * owner could write, is reported, and what it last held stands; one that could not be read (no descriptor was left) is tried
 * again with each poll. Blocking (small files on a local disk); one thread. */
#ifndef WEIR_COMMON_KEYS_H
#define WEIR_COMMON_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/kv.h"

#define KEY_BYTES 32
#define KEY_TEXT 40                 /* characters of a key in Z85 */
#define KEYS_PER_NAME_MAX 8
#define KEYS_NAMES_MAX 20000        /* .pub files that are read */
#define KEYS_FILE_MAX 8192          /* bytes of one */
#define KEYS_STATS_PER_POLL_MAX 2048 /* files looked at in one poll for a change in place: with more, a change takes so many
                                       more polls to be seen. New, replaced and removed files are seen at once */

struct key_text {
	char text[KEY_TEXT + 1];
};

struct keys;

struct keys_options {
	const char *dir;
	const char *own_dir; /* of NAME.key; NULL: dir */
	const char *name; /* whose own key is wanted */
	void *arg;
	/* A problem with a file, for people: told once for each state of the file. May be NULL. */
	void (*report)(void *arg, const char *text);
};

/* WEIR_EINVAL (files as they must not be), WEIR_ENOTFOUND (no folder, no own key), WEIR_EIO; *ret_why: a text for people that
 * says what to do, the caller's to free. Broken .pub files are reported only. */
int keys_open(const struct keys_options *o, struct keys **ret_keys, char **ret_why);
/* Only whether it would open, for a topology's check; dir NULL (security none): fine. */
int keys_check(const char *dir, const char *name, char **ret_why);
void keys_free(struct keys *k); /* wipes the secret; NULL is fine */

/* Takes in changes of the folder. Each pointer that was got before is void where it says so. */
struct keys_change {
	bool own;    /* the own pair is another one */
	bool others; /* something of the .pub files */
};
void keys_poll(struct keys *k, struct keys_change *ret_change);

const char *keys_name(const struct keys *k);
/* The own pair. */
const struct key_text *keys_public(const struct keys *k);
const struct key_text *keys_secret(const struct keys *k);
/* The public keys of a name, newest first; 0: none. Until the next poll. */
size_t keys_of(const struct keys *k, const char *name, const struct key_text **ret_keys);
/* Who owns a public key; NULL: nobody (also where two names claim it). Until the next poll. */
const char *keys_owner(const struct keys *k, const char *key);
/* The same with a name that comes with it: whether the key is (still) that name's. */
bool keys_owns(const struct keys *k, const char *name, const char *key);

struct keys_counters {
	uint64_t names, keys; /* gauges */
	uint64_t broken;      /* files found broken, ever */
	uint64_t changes;     /* polls that found a change */
};
void keys_counters(const struct keys *k, struct keys_counters *ret);

/* ---- for making them ------------------------------------------------------------------------------------------- */

void key_make(struct key_text *ret_public, struct key_text *ret_secret);
/* The public key of a secret one; WEIR_EINVAL: no key. */
int key_public(const struct key_text *secret, struct key_text *ret_public);
/* WEIR_EINVAL: not 40 characters of Z85 that say 32 bytes. */
int key_decode(const char text[KEY_TEXT], uint8_t ret_bytes[KEY_BYTES]);
void key_encode(const uint8_t bytes[KEY_BYTES], struct key_text *ret_text);
/* The keys in a file's text, into keys; WEIR_EINVAL: a line that is none, or more than max; *ret_line: which, from 1. */
int keys_parse(struct bytes text, struct key_text *keys, size_t max, size_t *ret_count, unsigned *ret_line);

#endif
