/* weirctl: what its commands share. Programs end with 0 (fine), 1 (failed) or 2 (bad use, bad configuration). */
#ifndef WEIR_CTL_CTL_H
#define WEIR_CTL_CTL_H

#include <jansson.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/args.h"
#include "common/buf.h"
#include "common/clock.h"
#include "common/model.h"
#include "ctl/table.h"

#define EXIT_FINE 0
#define EXIT_FAILED 1
#define EXIT_USE 2

enum format { FORMAT_TABLE, FORMAT_JSON, FORMAT_CSV };

struct ctl {
	enum format format;
	struct http_client *http;          /* NULL where the command needs no cloud */
	const volatile sig_atomic_t *stop; /* non-zero after SIGINT or SIGTERM, for commands with `stoppable` */
};

struct command {
	const char *name;     /* one or two words */
	const char *words;    /* what follows them, for the usage line and completions (names as in arg_option.value); "" for nothing */
	const char *summary;  /* one line */
	const char *help;     /* teaches, with examples */
	const struct arg_option *options;
	size_t option_count;
	size_t words_min, words_max;
	bool offline;         /* needs no cloud */
	bool stoppable;       /* ends by itself, in order, after SIGINT or SIGTERM */
	int (*run)(struct ctl *ctl, const struct args *args);
};

extern const struct command command_status, command_streams, command_edges, command_edge_readmit, command_edge_revoke,
    command_edge_allow, command_nodes,
    command_query, command_watch, command_check, command_store_check, command_store_dump, command_apply, command_topology,
    command_load, command_keygen, command_token_add, command_token_list, command_token_remove, command_tls_renew,
    command_node_add, command_node_remove, command_doctor, command_top, command_alerts, command_healthy, command_names;

/* What `weirctl --help` tells, beside its commands; ctl_command: the next command by number, NULL after the last. Static. */
extern const struct arg_program ctl_program;
const struct command *ctl_command(size_t number);

/* Makes ctl->http for these addresses, with the token and authority that the arguments or variables name; urls NULL: those of the
 * arguments, too. 0, or EXIT_USE after telling why. */
int ctl_connect(struct ctl *ctl, const struct args *args, const char *urls);

/* An option, or else the variable, where it is not empty; or NULL. */
const char *ctl_option(const struct args *args, const char *option, const char *variable);
/* The FILE of a command whose one word it is, or else $WEIR_CONFIG; or NULL after telling that it is missing. */
const char *ctl_file(const struct command *command, const struct args *args);

/* Whether a node or an edge of the topology is called so; tells where none is. */
bool ctl_knows(const struct topology *t, const char *node);

/* The token in a file of mode 0600, as text of its own, to be wiped; or NULL after telling why not. option: names it in messages. */
char *ctl_read_token(const char *option, const char *path);

/* "weirctl: ..." and a newline on stderr. */
void ctl_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The same for bad use, with a hint to the command's help; returns EXIT_USE. */
int ctl_bad_use(const struct command *command, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Writes to stdout and empties b. A failure shows when the program ends: ctl_main checks stdout. */
void ctl_print(struct buf *b);

/* Asks for a path and decodes the JSON of a 200. 0 with *ret_json (json_decref it) and, where ret_raw is not NULL, the
 * bytes as they came (buf_free them); else EXIT_FAILED, after an error message that carries the server's own. */
int ctl_get(struct ctl *ctl, const char *path, json_t **ret_json, struct buf *ret_raw);
/* What an error answer says: "unknown_stream: no stream is called x", else its status. */
void ctl_put_api_error(long status, const struct buf *body, struct buf *out);

/* A JSON value as a cell: texts as they are, numbers with `digits` significant digits (0: as many as needed to be
 * exact), {"a": 1} as "a=1", null as `none`. */
void ctl_put_cell(struct buf *b, const json_t *value, int digits, const char *none);
void ctl_cell(struct table *t, const json_t *value, int digits, const char *none);
/* The array under a key, or NULL: iterate with json_array_foreach. */
json_t *ctl_array(const json_t *object, const char *key);
const char *ctl_text(const json_t *object, const char *key); /* "" where there is none */
/* "3d", "5h", "90s": as exact as it matters. */
void ctl_format_lag(int64_t ns, char out[TIME_TEXT_MAX]);

/* The whole program, for main and for tests. */
int ctl_main(int argc, char **argv);

#endif
