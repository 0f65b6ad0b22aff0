/* The options of each type of source: what topology.yaml may say of it.
 *
 * A type is one line of SOURCE_TYPES (common/model.h), one entry of the table below, and edged/source_NAME.c
 * (docs/sources.md shows how to add one). Checks that concern one type only are done by its `check`. */
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "common/topology_parts.h"
#include "common/url.h"

#define SOCKET_BUFFER_MIN 4096
#define SOCKET_BUFFER_MAX (1024 * 1024 * 1024)
#define SOCKET_BUFFER_DEFAULT (8 * 1024 * 1024)
#define SOCKET_MODE_DEFAULT 0660
#define SOCKET_PATH_MAX 107 /* what an address of a unix socket holds */
#define EXEC_WORD_BYTES_MAX 4096
#define SCRAPE_TIMEOUT_NS (10 * NS_PER_SEC)
#define SCRAPE_BODY_BYTES (UINT64_C(16) << 20)
#define SCRAPE_HELD_BYTES (UINT64_C(64) << 20) /* of all URLs of a source */

#define FIELDS(table) (table), sizeof(table) / sizeof((table)[0])

void topology_read_source_line(struct conf *c, const struct conf_node *value, void *object)
{
	(void)c;
	((struct source_conf *)object)->line = value->parent->line;
}

static void read_start(struct conf *c, const struct conf_node *value, void *object)
{
	struct source_conf *s = object;
	const char *text;
	int64_t t;
	if (!conf_text(c, value, TIME_TEXT_MAX, &text) || !strcmp(text, "now"))
		return;
	if (strspn(text, "0123456789") != 4 || text[4] != '-' || time_parse(text, 0, &t))
		conf_error(c, value, "%s is not a time: expected now or 2015-09-01T11:25:00Z", conf_quote(c, text));
	else
		s->start_ns = t;
}

#define SOURCE_FIELDS TOPOLOGY_SOURCE_FIELDS
#define PROBABILITY(field) \
	{.key = #field, .kind = CONF_KIND_DOUBLE, .offset = offsetof(struct source_conf, field), .double_max = 1}

static void read_precision(struct conf *c, const struct conf_node *value, void *object)
{
	static const char *const names[] = {"ns", "us", "ms", "s"};
	const char *text;
	int64_t ns = 1;
	if (!conf_text(c, value, 8, &text))
		return;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++, ns *= 1000) {
		if (!strcmp(text, names[i])) {
			((struct source_conf *)object)->socket.precision_ns = ns;
			return;
		}
	}
	conf_error(c, value, "%s is none of ns, us, ms, s", conf_quote(c, text));
}

static bool same_precision(const void *a, const void *b)
{
	return ((const struct source_conf *)a)->socket.precision_ns == ((const struct source_conf *)b)->socket.precision_ns;
}

static void read_socket(struct conf *c, const struct conf_node *value, void *object)
{
	const char *text;
	if (!conf_text(c, value, 16, &text))
		return;
	if (strcmp(text, "stream") && strcmp(text, "datagram"))
		conf_error(c, value, "%s is neither stream nor datagram", conf_quote(c, text));
	else
		((struct source_conf *)object)->socket.stream = !strcmp(text, "stream");
}

static bool same_socket(const void *a, const void *b)
{
	return ((const struct source_conf *)a)->socket.stream == ((const struct source_conf *)b)->socket.stream;
}

/* As chmod(1) takes it, in octal digits. */
static void read_mode(struct conf *c, const struct conf_node *value, void *object)
{
	const char *text;
	if (!conf_text(c, value, 8, &text))
		return;
	size_t digits = strspn(text, "01234567");
	if (text[digits] || digits < 3 || digits > 4 || strtoul(text, NULL, 8) > 0777)
		conf_error(c, value, "%s is no mode of a file: expected three octal digits, as in \"0660\"", conf_quote(c, text));
	else
		((struct source_conf *)object)->socket.mode = (unsigned)strtoul(text, NULL, 8);
}

static bool same_mode(const void *a, const void *b)
{
	return ((const struct source_conf *)a)->socket.mode == ((const struct source_conf *)b)->socket.mode;
}

#define PRECISION_FIELD {.key = "precision", .kind = CONF_KIND_CUSTOM, .read = read_precision, .same = same_precision}
#define SOCKET_FIELD {.key = "socket", .kind = CONF_KIND_CUSTOM, .read = read_socket, .same = same_socket}
#define MODE_FIELD {.key = "mode", .kind = CONF_KIND_CUSTOM, .read = read_mode, .same = same_mode}
#define BUFFER_FIELD \
	{.key = "buffer", .kind = CONF_KIND_SIZE, .offset = offsetof(struct source_conf, socket.buffer_bytes), \
	    .min = SOCKET_BUFFER_MIN, .max = SOCKET_BUFFER_MAX}

static const struct conf_field tcp_fields[] = {
	SOURCE_FIELDS,
	{.key = "listen", .kind = CONF_KIND_TEXT, .required = true, .offset = offsetof(struct source_conf, listen)},
	PRECISION_FIELD,
};
static const struct conf_field udp_fields[] = {
	SOURCE_FIELDS,
	{.key = "listen", .kind = CONF_KIND_TEXT, .required = true, .offset = offsetof(struct source_conf, listen)},
	PRECISION_FIELD,
	BUFFER_FIELD,
};
static const struct conf_field unix_fields[] = {
	SOURCE_FIELDS,
	{.key = "path", .kind = CONF_KIND_PATH, .required = true, .offset = offsetof(struct source_conf, path)},
	SOCKET_FIELD,
	MODE_FIELD,
	PRECISION_FIELD,
};
static const struct conf_field statsd_fields[] = {
	SOURCE_FIELDS,
	{.key = "listen", .kind = CONF_KIND_TEXT, .offset = offsetof(struct source_conf, listen)},
	{.key = "path", .kind = CONF_KIND_PATH, .offset = offsetof(struct source_conf, path)},
	SOCKET_FIELD,
	MODE_FIELD,
	BUFFER_FIELD,
};
static const struct conf_field http_fields[] = {
	SOURCE_FIELDS,
	{.key = "listen", .kind = CONF_KIND_TEXT, .required = true, .offset = offsetof(struct source_conf, listen)},
};
static const struct conf_field file_fields[] = {
	SOURCE_FIELDS,
	{.key = "path", .kind = CONF_KIND_PATH, .required = true, .offset = offsetof(struct source_conf, path)},
	{.key = "follow", .kind = CONF_KIND_BOOL, .offset = offsetof(struct source_conf, follow)},
};
static const struct conf_field stdin_fields[] = {
	SOURCE_FIELDS,
};
static const struct conf_field simulate_fields[] = {
	SOURCE_FIELDS,
	{.key = "sensors", .kind = CONF_KIND_U32, .offset = offsetof(struct source_conf, sensors), .min = 1,
	    .max = SIMULATE_SENSORS_MAX},
	{.key = "every", .kind = CONF_KIND_DURATION, .offset = offsetof(struct source_conf, every_ns), .min = 1,
	    .max = DURATION_MAX_NS},
	{.key = "seed", .kind = CONF_KIND_U64, .offset = offsetof(struct source_conf, seed), .max = INT64_MAX},
	{.key = "count", .kind = CONF_KIND_U64, .offset = offsetof(struct source_conf, count), .max = INT64_MAX},
	{.key = "measurement", .kind = CONF_KIND_TEXT, .offset = offsetof(struct source_conf, measurement),
	    .max = TAG_BYTES_MAX},
	{.key = "field", .kind = CONF_KIND_TEXT, .offset = offsetof(struct source_conf, field), .max = TAG_BYTES_MAX},
	{.key = "mean", .kind = CONF_KIND_DOUBLE, .offset = offsetof(struct source_conf, mean)},
	{.key = "noise", .kind = CONF_KIND_DOUBLE, .offset = offsetof(struct source_conf, noise), .double_max = 1e300},
	{.key = "drift", .kind = CONF_KIND_DOUBLE, .offset = offsetof(struct source_conf, drift)},
	PROBABILITY(spikes),
	PROBABILITY(gaps),
	PROBABILITY(late),
	PROBABILITY(duplicates),
	{.key = "late_by", .kind = CONF_KIND_DURATION, .offset = offsetof(struct source_conf, late_by_ns),
	    .max = DURATION_MAX_NS},
	{.key = "start", .kind = CONF_KIND_CUSTOM, .read = read_start},
	{.key = "fast", .kind = CONF_KIND_BOOL, .offset = offsetof(struct source_conf, fast)},
};

#define TEXTS_FIELD(name, field, count_max, bytes_max) \
	static void read_##name(struct conf *c, const struct conf_node *value, void *object) \
	{ \
		topology_clear_texts(&((struct source_conf *)object)->field); \
		topology_read_texts(c, value, count_max, bytes_max, &((struct source_conf *)object)->field); \
	} \
	static void clear_##name(void *object) \
	{ \
		topology_clear_texts(&((struct source_conf *)object)->field); \
	} \
	static bool same_##name(const void *a, const void *b) \
	{ \
		return model_texts_same(&((const struct source_conf *)a)->field, &((const struct source_conf *)b)->field); \
	}
TEXTS_FIELD(urls, scrape.urls, SCRAPE_URLS_MAX, URL_MAX_BYTES)
TEXTS_FIELD(include, scrape.include, SCRAPE_GLOBS_MAX, TAG_BYTES_MAX)
TEXTS_FIELD(exclude, scrape.exclude, SCRAPE_GLOBS_MAX, TAG_BYTES_MAX)
TEXTS_FIELD(command, exec.command, EXEC_WORDS_MAX, EXEC_WORD_BYTES_MAX)
#undef TEXTS_FIELD
#define TEXTS(keyword, name) \
	{.key = keyword, .kind = CONF_KIND_CUSTOM, .read = read_##name, .clear = clear_##name, .same = same_##name}

static const struct conf_field prometheus_fields[] = {
	SOURCE_FIELDS,
	TEXTS("url", urls),
	TEXTS("urls", urls),
	TEXTS("include", include),
	TEXTS("exclude", exclude),
	{.key = "every", .kind = CONF_KIND_DURATION, .offset = offsetof(struct source_conf, scrape.every_ns),
	    .min = 100 * NS_PER_MS, .max = DAY_NS},
	{.key = "timeout", .kind = CONF_KIND_DURATION, .offset = offsetof(struct source_conf, scrape.timeout_ns),
	    .min = 10 * NS_PER_MS, .max = DAY_NS},
	{.key = "token_file", .kind = CONF_KIND_PATH, .offset = offsetof(struct source_conf, scrape.token_file)},
	{.key = "user", .kind = CONF_KIND_TEXT, .offset = offsetof(struct source_conf, scrape.user), .max = TAG_BYTES_MAX},
	{.key = "password_file", .kind = CONF_KIND_PATH, .offset = offsetof(struct source_conf, scrape.password_file)},
	{.key = "ca_file", .kind = CONF_KIND_PATH, .offset = offsetof(struct source_conf, scrape.ca_file)},
	{.key = "body_limit", .kind = CONF_KIND_SIZE, .offset = offsetof(struct source_conf, scrape.body_bytes), .min = 1024,
	    .max = INT64_C(16) << 20},
	{.key = "honor_labels", .kind = CONF_KIND_BOOL, .offset = offsetof(struct source_conf, scrape.honor_labels)},
	{.key = "honor_timestamps", .kind = CONF_KIND_BOOL, .offset = offsetof(struct source_conf, scrape.honor_timestamps)},
};

static bool is_env_name(const char *text)
{
	return *text && !strchr("0123456789", *text) &&
	    !text[strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_")];
}

static void read_env(struct conf *c, const struct conf_node *value, void *object)
{
	struct model_texts *env = &((struct source_conf *)object)->exec.env;
	topology_clear_texts(env);
	if (!conf_expect(c, value, CONF_MAP))
		return;
	if (value->count > EXEC_ENV_MAX) {
		conf_error(c, value, "%zu variables; at most %d", value->count, EXEC_ENV_MAX);
		return;
	}
	env->items = xcalloc(value->count + 1, sizeof(env->items[0]));
	for (const struct conf_node *v = value->first; v; v = v->next) {
		const char *name, *text;
		if (!conf_text(c, v->key, TAG_BYTES_MAX, &name) || !conf_text(c, v, EXEC_WORD_BYTES_MAX, &text))
			continue;
		if (is_env_name(name))
			env->items[env->count++] = xasprintf("%s=%s", name, text);
		else
			conf_error_key(c, v, "%s is no name of a variable: letters, digits and _", conf_quote(c, name));
	}
}

static void clear_env(void *object)
{
	topology_clear_texts(&((struct source_conf *)object)->exec.env);
}

static bool same_env(const void *a, const void *b)
{
	return model_texts_same(&((const struct source_conf *)a)->exec.env, &((const struct source_conf *)b)->exec.env);
}

static const struct conf_field restart_fields[] = {
	{.key = "min", .kind = CONF_KIND_DURATION, .offset = offsetof(struct source_conf, exec.restart_min_ns),
	    .min = 10 * NS_PER_MS, .max = DAY_NS},
	{.key = "max", .kind = CONF_KIND_DURATION, .offset = offsetof(struct source_conf, exec.restart_max_ns),
	    .min = 10 * NS_PER_MS, .max = DAY_NS},
};
static const struct conf_schema restart_schema = {sizeof(struct source_conf), FIELDS(restart_fields), NULL, NULL, NULL};

static const struct conf_field exec_fields[] = {
	SOURCE_FIELDS,
	TEXTS("command", command),
	{.key = "env", .kind = CONF_KIND_CUSTOM, .read = read_env, .clear = clear_env, .same = same_env},
	{.key = "every", .kind = CONF_KIND_DURATION, .offset = offsetof(struct source_conf, exec.every_ns),
	    .min = 100 * NS_PER_MS, .max = DAY_NS},
	{.key = "timeout", .kind = CONF_KIND_DURATION, .offset = offsetof(struct source_conf, exec.timeout_ns),
	    .min = 10 * NS_PER_MS, .max = DAY_NS},
	{.key = "grace", .kind = CONF_KIND_DURATION, .offset = offsetof(struct source_conf, exec.grace_ns),
	    .min = 10 * NS_PER_MS, .max = 600 * NS_PER_SEC},
	{.key = "restart", .kind = CONF_KIND_MAP, .schema = &restart_schema},
};

static void source_defaults(void *object)
{
	struct source_conf *s = object;
	s->scrape.every_ns = 15 * NS_PER_SEC;
	s->scrape.body_bytes = SCRAPE_BODY_BYTES;
	s->scrape.honor_timestamps = true;
	s->exec.grace_ns = 5 * NS_PER_SEC;
	s->exec.restart_min_ns = NS_PER_SEC;
	s->exec.restart_max_ns = 60 * NS_PER_SEC;
	s->sensors = 10;
	s->every_ns = NS_PER_SEC;
	s->seed = 1;
	s->mean = 20;
	s->noise = 1;
	s->drift = 5;
	s->late_by_ns = 10 * NS_PER_SEC;
	s->start_ns = INT64_MIN;
	s->socket = (struct socket_conf){.mode = SOCKET_MODE_DEFAULT, .buffer_bytes = SOCKET_BUFFER_DEFAULT};
}

/* A relative one depends on where the file is: it is looked at again where the socket is opened. */
static void check_socket_path(struct conf *c, const struct conf_node *map)
{
	const struct conf_node *path = conf_get(map, "path");
	if (path && path->type == CONF_SCALAR && path->text[0] == '/' && strlen(path->text) > SOCKET_PATH_MAX)
		conf_error(c, path, "a socket's path has %d bytes at most", SOCKET_PATH_MAX);
}

static void check_unix(struct conf *c, const struct conf_node *map, void *object)
{
	struct source_conf *s = object;
	if (!conf_get(map, "socket"))
		s->socket.stream = true;
	check_socket_path(c, map);
}

static void check_statsd(struct conf *c, const struct conf_node *map, void *object)
{
	(void)object;
	const struct conf_node *listen = conf_get(map, "listen"), *path = conf_get(map, "path"), *mode = conf_get(map, "mode");
	if (!listen && !path)
		conf_error(c, map, "needs `listen` (HOST:PORT) or `path` (of a unix socket)");
	if (listen && path)
		conf_error(c, path, "cannot be beside `listen`: make it a source of its own");
	if (mode && !path)
		conf_error(c, mode, "is of a socket's file: it needs `path`");
	check_socket_path(c, map);
}

static void check_simulate(struct conf *c, const struct conf_node *map, void *object)
{
	struct source_conf *s = object;
	const struct conf_node *fast = conf_get(map, "fast"), *late = conf_get(map, "late");
	if (!s->measurement)
		s->measurement = xstrdup("sensors");
	if (!s->field)
		s->field = xstrdup("value");
	if (s->fast && s->start_ns == INT64_MIN)
		conf_error(c, fast, "needs `start`: a time in the past to begin at");
	if (s->fast && !s->count)
		conf_error(c, fast, "needs `count`: without an end it would run ahead of the clock");
	if (late && s->late > 0 && s->late_by_ns == 0)
		conf_error(c, late, "needs a `late_by` above 0");
}

/* One that has a secret in it is not repeated. */
static void check_url(struct conf *c, const struct conf_node *node, const struct scrape_conf *s, const char *url)
{
	const char *problem = url_problem(url), *host = strstr(url, "://");
	bool secret = host && memchr(host + 3, '@', strcspn(host + 3, "/?#"));
	if (secret)
		conf_error(c, node, "no secrets in here: the user is `user`, the password in `password_file`");
	else if (problem)
		conf_error(c, node, "%s is not a URL such as http://127.0.0.1:9100/metrics: %s", conf_quote(c, url), problem);
	else if ((s->token_file || s->password_file) && !url_is_private(url))
		conf_error(c, node, "the secret would travel unencrypted to %s; use https://", conf_quote(c, url));
}

static void check_credentials(struct conf *c, const struct conf_node *map, const struct scrape_conf *s)
{
	const struct conf_node *user = conf_get(map, "user"), *password = conf_get(map, "password_file");
	if (user && !password)
		conf_error_key(c, user, "needs a `password_file`");
	if (password && !user)
		conf_error_key(c, password, "needs a `user`");
	if (s->token_file && s->user)
		conf_error_key(c, user, "either `token_file` or `user`");
}

static void check_prometheus(struct conf *c, const struct conf_node *map, void *object)
{
	struct scrape_conf *s = &((struct source_conf *)object)->scrape;
	const struct conf_node *url = conf_get(map, "url"), *urls = conf_get(map, "urls");
	const struct conf_node *timeout = conf_get(map, "timeout");
	if (!url == !urls)
		conf_error(c, map, url ? "either `url` or `urls`" : "`url` is missing: http://127.0.0.1:9100/metrics for example");
	for (size_t i = 0; i < s->urls.count && !url != !urls; i++)
		check_url(c, url ? url : urls, s, s->urls.items[i]);
	check_credentials(c, map, s);
	if (!conf_get(map, "body_limit") && s->urls.count)
		s->body_bytes = SCRAPE_HELD_BYTES / s->urls.count < s->body_bytes ? SCRAPE_HELD_BYTES / s->urls.count : s->body_bytes;
	if (s->body_bytes * s->urls.count > SCRAPE_HELD_BYTES)
		conf_error(c, conf_get(map, "body_limit"), "too much for %zu URLs: at most 64MiB for all of them", s->urls.count);
	if (timeout && s->timeout_ns > s->every_ns)
		conf_error(c, timeout, "longer than `every`");
	if (!timeout)
		s->timeout_ns = s->every_ns < SCRAPE_TIMEOUT_NS ? s->every_ns : SCRAPE_TIMEOUT_NS;
}

/* A program with a slash in its name is a path as any other; its name alone is looked for in $PATH. */
static void check_exec(struct conf *c, const struct conf_node *map, void *object)
{
	struct exec_conf *e = &((struct source_conf *)object)->exec;
	const struct conf_node *timeout = conf_get(map, "timeout"), *command = conf_get(map, "command");
	if (!command)
		conf_error(c, map, "`command` is missing: [PROGRAM, ARGUMENT, ...]");
	else if (command->type == CONF_SCALAR && strchr(command->text, ' '))
		conf_error(c, command, "no shell takes it apart: write it as [PROGRAM, ARGUMENT, ...]");
	if (e->command.count && strchr(e->command.items[0], '/')) {
		char *program = conf_place(c, e->command.items[0]);
		free(e->command.items[0]);
		e->command.items[0] = program;
	}
	if (timeout && !e->every_ns)
		conf_error_key(c, timeout, "goes with `every`: what runs on is not ended");
	if (!timeout)
		e->timeout_ns = e->every_ns;
	if (e->every_ns && conf_get(map, "restart"))
		conf_error_key(c, conf_get(map, "restart"), "does not go with `every`: it is run again at the next interval");
	if (e->restart_min_ns > e->restart_max_ns)
		conf_error(c, conf_get(map, "restart"), "`min` is longer than `max`");
}

/* A table's check is of the type alone: the defaults are everyone's. */
static const struct conf_schema source_schemas[SOURCE_TYPE_COUNT] = {
	[SOURCE_TCP] = {sizeof(struct source_conf), FIELDS(tcp_fields), NULL, NULL, NULL},
	[SOURCE_FILE] = {sizeof(struct source_conf), FIELDS(file_fields), NULL, NULL, NULL},
	[SOURCE_STDIN] = {sizeof(struct source_conf), FIELDS(stdin_fields), NULL, NULL, NULL},
	[SOURCE_SIMULATE] = {sizeof(struct source_conf), FIELDS(simulate_fields), NULL, check_simulate, NULL},
	[SOURCE_MQTT] = {sizeof(struct source_conf), topology_mqtt_fields, TOPOLOGY_MQTT_FIELDS, NULL, topology_check_mqtt, NULL},
	[SOURCE_HTTP] = {sizeof(struct source_conf), FIELDS(http_fields), NULL, NULL, NULL},
	[SOURCE_UDP] = {sizeof(struct source_conf), FIELDS(udp_fields), NULL, NULL, NULL},
	[SOURCE_UNIX] = {sizeof(struct source_conf), FIELDS(unix_fields), NULL, check_unix, NULL},
	[SOURCE_STATSD] = {sizeof(struct source_conf), FIELDS(statsd_fields), NULL, check_statsd, NULL},
	[SOURCE_PROMETHEUS] = {sizeof(struct source_conf), FIELDS(prometheus_fields), NULL, check_prometheus, NULL},
	[SOURCE_EXEC] = {sizeof(struct source_conf), FIELDS(exec_fields), NULL, check_exec, NULL},
};

static const char *const type_names[SOURCE_TYPE_COUNT] = {
#define SOURCE_NAME(constant, name) #name,
	SOURCE_TYPES(SOURCE_NAME)
#undef SOURCE_NAME
};

const char *source_type_text(enum source_type type)
{
	return (size_t)type < SOURCE_TYPE_COUNT ? type_names[type] : "?";
}

enum source_type topology_source_type(const struct conf_node *source)
{
	return (enum source_type)topology_type(source, type_names, SOURCE_TYPE_COUNT);
}

static const struct conf_schema *select_source(struct conf *c, const struct conf_node *map)
{
	size_t type = topology_select_type(c, map, "source", type_names, SOURCE_TYPE_COUNT);
	return type < SOURCE_TYPE_COUNT ? &source_schemas[type] : NULL;
}

static void check_source(struct conf *c, const struct conf_node *map, void *object)
{
	struct source_conf *s = object;
	s->type = topology_source_type(map);
	if (s->type < SOURCE_TYPE_COUNT && source_schemas[s->type].check)
		source_schemas[s->type].check(c, map, s);
}

const struct conf_schema topology_source_schema = {sizeof(struct source_conf), NULL, 0, source_defaults, check_source,
	select_source};

bool source_conf_same(const struct source_conf *a, const struct source_conf *b)
{
	return a->type == b->type && conf_same(&source_schemas[a->type], a, b);
}

void source_conf_clear(struct source_conf *s)
{
	conf_clear(&source_schemas[s->type], s);
}
