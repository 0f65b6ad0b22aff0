/* Configuration files: YAML read into positioned nodes, and nodes read into structs by declarative tables.
 *
 * Only common/conf includes libyaml. Its event interface is used, never its document loader, and everything that a file
 * could be made costly or ambiguous with is refused: files over CONF_BYTES_MAX, nesting over CONF_DEPTH_MAX, more than
 * CONF_NODES_MAX nodes, several documents, anchors, aliases, tags, duplicate keys, keys that are not text.
 *
 * Problems do not stop the reading: each is noted with its place and the path of its key, and all come out together, in
 * the order of the file, as `FILE:LINE:COLUMN: path.to.key: message` lines. The first CONF_ERRORS_MAX are kept, the
 * rest counted.
 *
 * Use: conf_new, conf_load or conf_parse, conf_read (and own checks, noting with conf_error), conf_errors, conf_free.
 * Nodes and their texts live until conf_free. One thread at a time; no global state. */
#ifndef WEIR_COMMON_CONF_H
#define WEIR_COMMON_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"

#define CONF_BYTES_MAX (1024 * 1024)
#define CONF_DEPTH_MAX 32
#define CONF_NODES_MAX 250000
#define CONF_ERRORS_MAX 100
#define CONF_FIELDS_MAX 64 /* of one schema */

struct conf;

enum conf_type {
	CONF_SCALAR,
	CONF_MAP,
	CONF_LIST,
	CONF_BROKEN, /* its problem is noted already: nothing more is said of it */
};

struct conf_node {
	enum conf_type type;
	unsigned line, column; /* 1-based; the column counts characters */
	bool quoted;           /* scalar: written in quotes or as a block, so never a number, a boolean or null */
	const char *text;      /* scalar: NUL-terminated, without NULs within; else "" */
	const struct conf_node *parent; /* NULL: the root */
	const struct conf_node *key;    /* of a map's value */
	size_t index;                   /* of a list's item */
	const struct conf_node *first;  /* map: the first value; list: the first item */
	const struct conf_node *next;   /* the next value or item of the same parent */
	size_t count;                   /* map, list */
	struct conf_node *last;         /* conf.c's, as is all below */
	struct conf_node *made_before;
};

/* name: the file's, as messages should have it; copied. */
struct conf *conf_new(const char *name);
void conf_free(struct conf *c); /* NULL is fine */

/* Parses the file of conf_new's name, or the bytes given. 0, or WEIR_EINVAL with the reason noted (then there may be
 * no root). Call one of them, once. */
int conf_load(struct conf *c);
int conf_parse(struct conf *c, const void *text, size_t len);
/* What was parsed, with a NUL behind it; lives as long as the conf. NULL: nothing. */
const char *conf_source(const struct conf *c, size_t *ret_len);
const struct conf_node *conf_root(const struct conf *c); /* NULL: nothing could be read */

/* Notes a problem with a node's value, at its place and with its path. */
void conf_error(struct conf *c, const struct conf_node *node, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* The same at the place of the node's key. */
void conf_error_key(struct conf *c, const struct conf_node *node, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* The same within a scalar, at a character of its text, from 1. Where that character's place in the file does not follow from the
 * scalar's (escapes, several lines), the place is the scalar's and the message tells the number. */
void conf_error_within(struct conf *c, const struct conf_node *node, size_t character, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
size_t conf_error_count(const struct conf *c);
/* Appends the noted problems, one line each, in the order of the file; "FILE: and N more" where some were not kept. */
void conf_errors(struct conf *c, struct buf *out);

/* The value of a key of a map, or NULL (also where node is NULL or no map). */
const struct conf_node *conf_get(const struct conf_node *node, const char *key);
/* "streams[0].window", "" for the root. */
void conf_path(const struct conf_node *node, struct buf *out);
/* The candidate that was probably meant by text (Damerau-Levenshtein distance up to a third of its length), or NULL. */
const char *conf_suggest(const char *text, const char *const *candidates, size_t count);
/* A text fit for a message, in quotes, shortened and without control characters; lives until the eighth next call
 * on this conf. */
const char *conf_quote(struct conf *c, const char *text);

/* A path as CONF_KIND_PATH takes it: relative to the folder of the file that conf_new() names. The caller's to free. */
char *conf_place(const struct conf *c, const char *path);

/* Single values. Each notes what is wrong and returns false, leaving *ret as it is. Values out of [min, max] are
 * wrong too. Texts are not copied. */
bool conf_text(struct conf *c, const struct conf_node *node, size_t bytes_max, const char **ret); /* not empty */
bool conf_name(struct conf *c, const struct conf_node *node, const char **ret); /* [A-Za-z0-9_.-], NAME_MAX_BYTES */
bool conf_bool(struct conf *c, const struct conf_node *node, bool *ret);
bool conf_uint(struct conf *c, const struct conf_node *node, uint64_t min, uint64_t max, uint64_t *ret);
bool conf_double(struct conf *c, const struct conf_node *node, double min, double max, double *ret); /* finite */
bool conf_duration(struct conf *c, const struct conf_node *node, int64_t min_ns, int64_t max_ns, int64_t *ret_ns);
bool conf_size(struct conf *c, const struct conf_node *node, uint64_t min, uint64_t max, uint64_t *ret_bytes);
/* Whether the node is of this type; else notes "expected X, found Y". */
bool conf_expect(struct conf *c, const struct conf_node *node, enum conf_type type);

/* The table of one kind of map. Reading fills an object of `size` bytes: zeroed, then `defaults`, then each field that
 * the file gives, then `check` (only where the map itself could be read; fields may have failed: they hold their
 * default or zero). Whatever was filled in stays in the object, also after errors, for the caller to free. */
enum conf_kind {
	CONF_KIND_TEXT,     /* char *, xstrdup; max: bytes (0: 4096) */
	CONF_KIND_PATH,     /* char *, xstrdup; relative to the folder of the file that conf_new() names */
	CONF_KIND_NAME,     /* char *, xstrdup */
	CONF_KIND_BOOL,     /* bool */
	CONF_KIND_U32,      /* uint32_t in [min, max] */
	CONF_KIND_U64,      /* uint64_t in [min, max] */
	CONF_KIND_DOUBLE,   /* double in [double_min, double_max]; both 0: any finite */
	CONF_KIND_DURATION, /* int64_t ns in [min, max] */
	CONF_KIND_SIZE,     /* uint64_t bytes in [min, max] */
	CONF_KIND_MAP,      /* a struct within the object, read by `schema` */
	CONF_KIND_LIST,     /* a pointer to an array of structs read by `schema`, its size_t length at count_offset;
			       [min, max] items. The array has one element per item, zeroed where the item is no map. */
	CONF_KIND_CUSTOM,   /* read() does it */
	CONF_KIND_NOTE,     /* known, and looked at by somebody else */
};

struct conf_schema;

struct conf_field {
	const char *key;
	enum conf_kind kind;
	bool required;
	size_t offset;
	int64_t min, max;
	double double_min, double_max;
	size_t count_offset;
	const struct conf_schema *schema;
	void (*read)(struct conf *c, const struct conf_node *value, void *object);
	/* CUSTOM, for conf_clear and conf_same; NULL: holds no memory, is no difference. */
	void (*clear)(void *object);
	bool (*same)(const void *a, const void *b);
};

struct conf_schema {
	size_t size;
	const struct conf_field *fields;
	size_t field_count; /* <= CONF_FIELDS_MAX */
	void (*defaults)(void *object);
	void (*check)(struct conf *c, const struct conf_node *map, void *object);
	/* Where one key decides which others there are: notes what is wrong and returns NULL, or returns the table to
	 * use for the fields instead of this one's. */
	const struct conf_schema *(*select)(struct conf *c, const struct conf_node *map);
};

/* Recursion goes as deep as the tables nest, never as deep as the input does. */
void conf_read(struct conf *c, const struct conf_node *map, const struct conf_schema *schema, void *object);

/* Of objects that a schema without `select` has filled in. Numbers are compared bit for bit. */
void conf_clear(const struct conf_schema *schema, void *object); /* frees what its fields hold, and zeroes those */
bool conf_same(const struct conf_schema *schema, const void *a, const void *b);

#endif
