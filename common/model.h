/* The topology as plain structs: what one topology.yaml says, checked and with defaults filled in, and the few
 * things that follow from it and that edge and cloud must derive alike (slices, versions, groups, shards).
 *
 * Loaded by common/topology; read-only afterwards, so any thread may read it. */
#ifndef WEIR_COMMON_MODEL_H
#define WEIR_COMMON_MODEL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/kv.h"

#define NAME_MAX_BYTES 64       /* cluster, node, edge, stream names: [A-Za-z0-9_.-]+ */
#define SHARDS_MAX 256
#define CLOUDS_MAX 64
#define REPLICAS_MAX 7          /* of one group */
#define EDGES_MAX 10000
#define EDGE_TAGS_MAX 32
#define SOURCES_MAX 65          /* of one edge: 64 of the file, and its own HTTP */
#define SCRAPE_URLS_MAX 16      /* of one source */
#define SCRAPE_GLOBS_MAX 256
#define EXEC_WORDS_MAX 256      /* of a command */
#define EXEC_ENV_MAX 64
#define SIMULATE_SENSORS_MAX 1000000
#define SINKS_MAX 32            /* of the cluster: each is a thread on every cloud node */
#define SINK_BATCH_ROWS 500     /* that a sink delivers at once */
#define KAFKA_BROKERS_MAX 32    /* that a sink is told of */
#define REMOTE_LABELS_MAX 16    /* that a sink adds to each series */
#define STREAMS_MAX 256
#define STEPS_MAX 16
#define WHERE_MAX 16            /* tags of one where */
#define BY_MAX 16
#define FUNCTIONS_MAX 64
#define DISTINCTS_MAX 8
#define DEDUPE_DEPTH_MAX 4096
#define STEP_SERIES_MAX 10000000
#define GROUPS_MAX 100000000    /* max_groups of a stream at most */
#define ROLLUPS_MAX 4
#define ALERTS_MAX 16           /* of one stream */
#define ALERT_WINDOWS_MAX 1000  /* `for` */
#define SLICES_PER_WINDOW_MAX 1000
#define GROUP_KEY_MAX 400       /* bytes of an encoded group (below) */
#define RETAIN_FOREVER INT64_MAX
#define GROUP_OTHER "__other__" /* every tag of the group that takes what is over max_groups */

struct model_tag {
	char *key;
	char *value;
};

/* The types of sources, X(CONSTANT, name): each has its options in common/topology_source.c, and what it does in
 * edged/source_NAME.c. A type's number is in the marks of spools: add to the end. */
#define SOURCE_TYPES(X) \
	X(TCP, tcp) \
	X(FILE, file) \
	X(STDIN, stdin) \
	X(SIMULATE, simulate) \
	X(MQTT, mqtt) \
	X(HTTP, http) \
	X(UDP, udp) \
	X(UNIX, unix) \
	X(STATSD, statsd) \
	X(PROMETHEUS, prometheus) \
	X(EXEC, exec)
enum source_type {
#define SOURCE_CONSTANT(constant, name) SOURCE_##constant,
	SOURCE_TYPES(SOURCE_CONSTANT)
#undef SOURCE_CONSTANT
	SOURCE_TYPE_COUNT
};

/* What a message from outside looks like inside (edged/payload.h). */
enum payload_format {
	PAYLOAD_LINE,     /* line protocol */
	PAYLOAD_JSON,
	PAYLOAD_NUMBER,   /* one plain number */
	PAYLOAD_COLLECTD, /* TIME:VALUE[:VALUE...] */
	PAYLOAD_FORMAT_COUNT
};

struct payload_conf {
	enum payload_format format;
	char *measurement;  /* json, number, collectd */
	char *field;        /* json with `value`, number, collectd */
	int64_t unit_ns;    /* what one unit of a numeric timestamp is; 0: the format's default */
	/* json: paths (common/json_path.h) */
	char *readings;     /* to an array of readings; NULL: the document is one, or an array of them */
	char *value;        /* one of value and fields */
	struct model_tag *fields, *tags; /* name -> path, sorted by name */
	size_t field_count, tag_count;
	char *time;         /* NULL: the wall clock */
};

#define MQTT_TOPICS_MAX 64 /* of one source */
struct mqtt_topic_conf {
	char *filter;       /* with named levels (common/topic.h) */
	struct payload_conf payload;
};

/* How an MQTT broker is reached. */
struct mqtt_broker_conf {
	char *address;      /* mqtt://HOST:PORT or mqtts://HOST:PORT */
	unsigned version;   /* 3 (3.1.1) or 5 */
	char *user, *password_file;
	char *ca_file, *cert_file, *key_file; /* mqtts; no ca_file: the system's */
	int64_t keepalive_ns;
};

struct mqtt_conf {
	struct mqtt_broker_conf broker;
	unsigned qos;
	char *client_id;    /* default weir-EDGE-SOURCE */
	int64_t session_expiry_ns; /* version 5: how long the broker keeps what comes while the edge is away */
	bool retained;      /* take messages that the broker kept from before the subscription */
	struct mqtt_topic_conf *topics;
	size_t topic_count;
};

/* Whether text is mqtt://HOST:PORT or mqtts://HOST:PORT. */
struct addr_host;
bool mqtt_broker_parse(const char *text, struct addr_host *ret_host, bool *ret_tls);

/* Sources that listen on a socket. */
struct socket_conf {
	bool stream;           /* statsd, unix: connections, else datagrams */
	unsigned mode;         /* of the socket's file, where there is a path */
	uint64_t buffer_bytes; /* what the kernel is asked to hold of datagrams that are not read yet */
	int64_t precision_ns;  /* tcp, udp, unix: what one unit of a line's timestamp is; 0: 1 */
};

/* A list of texts of a topology, in its order. */
struct model_texts {
	char **items;
	size_t count;
};

bool model_texts_same(const struct model_texts *a, const struct model_texts *b);

struct scrape_conf {
	struct model_texts urls;
	struct model_texts include, exclude; /* globs of metric names; no include: all */
	int64_t every_ns, timeout_ns;
	char *token_file, *user, *password_file, *ca_file; /* NULL: none */
	uint64_t body_bytes;                 /* of one answer, unpacked */
	bool honor_labels, honor_timestamps; /* as Prometheus calls them: the exporter's own win */
};

struct exec_conf {
	struct model_texts command, env; /* argv; NAME=value */
	int64_t every_ns;                /* 0: it runs on, and is restarted when it ends */
	int64_t timeout_ns;              /* with every */
	int64_t grace_ns;                /* from SIGTERM to SIGKILL */
	int64_t restart_min_ns, restart_max_ns;
};

struct source_conf {
	enum source_type type;
	unsigned line;      /* of the topology file, for messages */
	char *name;         /* unique within the edge; default TYPE-N, N counting those of the type from 1 */
	char *listen;       /* tcp, http, udp, statsd: HOST:PORT */
	char *path;         /* file, unix, statsd: absolute, or relative to the topology file's folder */
	struct socket_conf socket; /* tcp, udp, unix, statsd */
	bool follow;        /* file: go on at the end, and through rotation; else the source finishes at the end */
	/* simulate: */
	unsigned sensors;   /* how many series */
	int64_t every_ns;   /* one reading per sensor and this much (event and wall) time */
	uint64_t seed;
	uint64_t count;     /* readings per sensor until the source finishes; 0: endless */
	char *measurement;  /* default "sensors" */
	char *field;        /* default "value" */
	double mean, noise, drift;              /* level, standard deviation, slow sine's amplitude */
	double spikes, gaps, late, duplicates;  /* probabilities per reading, 0..1 */
	int64_t late_by_ns; /* how late a late reading is at most */
	int64_t start_ns;   /* event time of the first reading; INT64_MIN: now */
	bool fast;          /* as fast as it goes, not in real time (needs start) */
	struct mqtt_conf mqtt;
	struct {
		const char *keys_dir, *node; /* TLS and tokens: the topology's, and the edge's name; NULL: plain */
	} http; /* listen NULL: at the edge's own `http` */
	struct scrape_conf scrape; /* prometheus */
	struct exec_conf exec;     /* exec */
};

const char *source_type_text(enum source_type type); /* "tcp" ... */
/* Whether both would do the same: type, name and all options. */
bool source_conf_same(const struct source_conf *a, const struct source_conf *b);
void source_conf_clear(struct source_conf *s); /* frees what it holds */

/* The types of sinks, X(CONSTANT, name): each has its options in common/topology_sink.c, and what it does in
 * cloudd/sink_NAME.c. */
#define SINK_TYPES(X) \
	X(FILE, file) \
	X(WEBHOOK, webhook) \
	X(MQTT, mqtt) \
	X(KAFKA, kafka) \
	X(REMOTE_WRITE, remote_write) \
	X(ZMQ, zmq)
enum sink_type {
#define SINK_CONSTANT(constant, name) SINK_##constant,
	SINK_TYPES(SINK_CONSTANT)
#undef SINK_CONSTANT
	SINK_TYPE_COUNT
};

struct sink_port {
	char *node;
	uint32_t port;
};

#define SINK_MQTT_TOPIC "weir/{stream}/{group}"
#define SINK_MQTT_ALERTS_TOPIC "weir-alerts/{alert}/{group}"
struct sink_conf {
	enum sink_type type;
	unsigned line;        /* of the topology file, for messages */
	char *name;           /* unique; how far the sink has come is kept under it */
	bool only_final;      /* `state: final`: of a window only what is final */
	bool lists_streams;   /* else rows of all streams go to it */
	char **streams;       /* names, each once, of the topology; listed, but none: only alerts go to it */
	size_t stream_count;
	/* One struct for the options of each type. */
	struct {
		char *path;         /* {node} in it stands for the node's name */
		bool csv;           /* else JSON lines */
		uint64_t max_bytes; /* a file that is larger is rotated */
		int64_t max_age_ns; /* ... or older */
		uint32_t keep;      /* rotated files */
	} file;
	struct {
		char *url;           /* or NULL: */
		char *url_file;      /* ... it is a secret, and in this file */
		char *headers_file;  /* lines "Name: value"; NULL: none */
		char *secret_file;   /* what signatures are made with; NULL: there are none */
		char *ca_file;       /* who vouches for the receiver; NULL: whom the system trusts */
		int64_t timeout_ns;
		uint32_t batch_rows;
		uint64_t batch_bytes;
	} webhook;
	struct {
		struct mqtt_broker_conf broker;
		char *topic;        /* a template (common/topic_name.h); NULL: SINK_MQTT_TOPIC */
		char *alerts_topic; /* the same, of alerts; NULL: SINK_MQTT_ALERTS_TOPIC */
		uint32_t qos;
		bool retained;
		int64_t timeout_ns; /* without an acknowledgement */
	} mqtt;
	struct {
		struct model_texts brokers; /* HOST:PORT */
		char *topic;         /* {stream} in it stands for the stream's name */
		char *alerts_topic;  /* of alerts; {alert}, too */
		bool protobuf;       /* else JSON */
		char *compression;   /* as librdkafka calls it; NULL: none */
		bool tls;
		char *ca_file;       /* who vouches for the brokers; NULL: whom the system trusts */
		char *cert_file, *key_file; /* who we are; both or none */
		char *mechanism;     /* of SASL: "plain", "scram-sha-256", "scram-sha-512"; NULL: none, nor the next two */
		char *user, *password_file;
		int64_t timeout_ns;
	} kafka;
	struct {
		char *url;
		char *token_file;           /* NULL: none; so the next */
		char *user, *password_file; /* both or none, and no token then */
		char *headers_file, *ca_file; /* as a webhook's */
		struct model_tag *labels;   /* added to each series: sorted by name, values not empty, UTF-8 */
		size_t label_count;
		bool histograms;            /* sketches go, too */
		int64_t timeout_ns;
		uint32_t batch_samples;
		uint64_t batch_bytes;       /* before they are compressed */
	} remote_write;
	struct {
		uint32_t port;      /* of nodes that are not in ports; 0: there are none */
		struct sink_port *ports;
		size_t port_count;
		char *subscribers;  /* folder with the .pub of those who may subscribe; NULL: there are no keys */
	} zmq;
};

const char *sink_type_text(enum sink_type type); /* "file" ... */
/* Whether alerts may be sent to it: its type can tell of them, and its options leave it room to. */
bool sink_takes_alerts(const struct sink_conf *s);
/* Whether both would do the same: type, name and all options. */
bool sink_conf_same(const struct sink_conf *a, const struct sink_conf *b);
void sink_conf_clear(struct sink_conf *s); /* frees what it holds */
/* The port of a zmq sink at a node; 0: it has none. */
uint32_t sink_port(const struct sink_conf *s, const char *node);
/* Whether rows of that stream go to the sink. */
bool sink_takes(const struct sink_conf *s, const char *stream);

struct edge_conf {
	bool revoked;       /* by the cluster map: nothing is heard of it (common/map.h); from a file alone: false */
	bool gone;          /* a name that an earlier topology of this process had; in edges only to keep its index */
	char *name;
	char *data;         /* folder */
	char *http;         /* HOST:PORT or NULL */
	struct model_tag *tags; /* sorted by key */
	size_t tag_count;
	struct source_conf *sources;
	size_t source_count;
	int64_t heartbeat_ns;
	int64_t idle_after_ns;
	int64_t flush_ns;
	int64_t max_ahead_ns;
	int64_t tick_ns;    /* one checkpoint per tick */
	uint64_t memory_bytes;
	uint64_t disk_bytes;
};

enum cloud_state {
	CLOUD_MEMBER,
	CLOUD_LEAVING, /* its replicas are being moved away */
	CLOUD_DEAD,    /* silent for replace_after: its replicas are rebuilt elsewhere; a member again once it is heard */
	CLOUD_GONE     /* nobody: the slot is free, its texts are "" */
};

struct cloud_conf {
	enum cloud_state state; /* of the cluster map; from a file alone: CLOUD_MEMBER */
	char *name;
	char *listen; /* tcp://HOST:PORT */
	char *http;   /* HOST:PORT */
	char *data;
};

enum step_type { STEP_RANGE, STEP_SCALE, STEP_DEDUPE, STEP_RATE, STEP_WHERE };

struct where_conf {
	char *tag;
	char *pattern; /* glob: * ? [a-z] and \ ; matched against the tag's value, "" where the tag is missing */
};

struct step_conf {
	enum step_type type;
	double min, max;    /* range: readings outside are dropped; -inf, inf where not given */
	double by, add;     /* scale: value * by + add; defaults 1, 0 */
	unsigned depth;     /* dedupe: drops a reading whose timestamp is among the last `depth` of its series; default 64 */
	int64_t per_ns;     /* rate: change per this much time; default 1s */
	uint64_t max_series; /* dedupe, rate: series remembered; default 100,000 */
	struct where_conf *where; /* where: all must match */
	size_t where_count;
};

enum function { FN_COUNT, FN_SUM, FN_MEAN, FN_MIN, FN_MAX, FN_STDDEV, FN_FIRST, FN_LAST, FN_QUANTILE, FN_DISTINCT };

struct function_conf {
	enum function fn;
	double q;        /* quantile: 0..1 */
	char *tag;       /* distinct: owned by the stream or NULL */
	char *text;      /* as written: the column's name */
};

struct rollup_conf {
	int64_t every_ns;
	int64_t retain_ns; /* or RETAIN_FOREVER */
};

struct condition; /* common/condition.h */

/* What is told of when windows of a stream meet a condition. Alerts are of the stream, not of one of its versions: the definition that
 * the topology's text has holds them, for windows of all versions (topology_alerting). */
struct alert_conf {
	unsigned line;      /* of the topology file, for messages */
	char *name;         /* unique among the alerts of the topology */
	char *when;         /* the condition, as written */
	struct condition *condition;
	uint32_t for_windows; /* windows in a row that must meet it; 1..ALERT_WINDOWS_MAX */
	struct model_texts to; /* names of sinks that take alerts, each once; may be none */
	char *severity, *summary; /* for people; NULL: none */
};

/* Versions of one stream run side by side while one takes over from another (common/map.h). */
enum stream_phase {
	STREAM_CURRENT,
	STREAM_PENDING, /* the next: fed beside the current one; answers begin when it is cut over to */
	STREAM_CLOSING, /* was cut over from: fed below until_ns, its last windows close */
	STREAM_ENDED,   /* not fed any more: removed from the topology, its last windows close */
	STREAM_RETIRED  /* neither fed nor closed any more: only answered */
};

struct stream_conf {
	char *name;
	uint32_t version;   /* names what its partials hold: not 0. Fingerprint of all that changes that, made unique by the map */
	enum stream_phase phase;
	int64_t from_ns;    /* answers windows that start here or later; INT64_MIN: all */
	int64_t answers_until_ns; /* ... and before this; INT64_MAX: all */
	int64_t until_ns;   /* is fed readings before this event time: the end of the last window that it answers */
	char *measurement;  /* glob */
	char *field;        /* glob */
	struct where_conf *where;
	size_t where_count;
	struct step_conf *steps;
	size_t step_count;
	char **by;          /* in the file's order: the order of a group's values */
	size_t by_count;
	int64_t size_ns, advance_ns, offset_ns; /* tumbling: advance == size */
	int64_t slice_ns;   /* gcd of size, advance and offset */
	int64_t lateness_ns;
	struct function_conf *compute;
	size_t compute_count;
	char **distinct;    /* the tags of distinct(TAG), each once, in first-written order */
	size_t distinct_count;
	int64_t retain_ns;  /* or RETAIN_FOREVER */
	struct rollup_conf *rollups; /* finest first */
	size_t rollup_count;
	bool lists_edges;   /* else it expects every edge */
	uint32_t *edges;    /* expected edges, indexes into topology.edges, ascending; never one that is gone */
	size_t edge_count;
	uint64_t max_groups;
	struct alert_conf *alerts; /* in the file's order */
	size_t alert_count;
};

/* Where a group's replicas are: nodes by rank; the first is its preferred leader. */
struct group_place {
	uint8_t count;
	uint8_t nodes[REPLICAS_MAX];
};

/* A topology made from a cluster map has all clouds, edges and streams at the index that they had in the one before it in
 * this process (common/map.h): those that are no more stay as CLOUD_GONE, gone, STREAM_RETIRED. Whoever goes through a list
 * looks at that. */
struct topology {
	atomic_uint holds;          /* beside the first owner's: topology_hold() */
	uint64_t map_version; /* of the map that it was made from; 0: a file */
	struct group_place *places; /* by group: topology_groups() of them */
	char *path;
	char *text;                 /* of the file, or of the map's topology */
	size_t text_len;
	char *cluster;
	uint32_t shards, replicas;
	char *keys_dir;     /* NULL: security none */
	int64_t partitioned_after_ns, replace_after_ns;
	struct cloud_conf *clouds;
	size_t cloud_count;
	struct edge_conf *edges;
	size_t edge_count;
	uint32_t *edges_by_name; /* indexes into edges (gone ones, too) in the order of their names; NULL: lookups scan */
	struct stream_conf *streams;
	size_t stream_count;
	struct sink_conf *sinks;
	size_t sink_count;
	char **revoked;          /* names of edges that the cluster map has revoked, in this topology or not; ascending */
	size_t revoked_count;
};

/* Gives back one hold; the last one frees. NULL is fine. Any thread. */
void topology_free(const struct topology *t);
/* One more owner, who gives it back with topology_free(). Any thread. */
const struct topology *topology_hold(const struct topology *t);
void stream_conf_clear(struct stream_conf *s); /* frees its fields */
void alert_conf_clear(struct alert_conf *a);   /* frees what it holds */
/* Index by name, or -1. Never what is gone. */
int topology_cloud(const struct topology *t, const char *name);
int topology_edge(const struct topology *t, const char *name);
int topology_stream(const struct topology *t, const char *name); /* the current version, else the pending or the last one */
int topology_sink(const struct topology *t, const char *name);
/* The version of the stream that has its alerts: the one that the topology's text defines (current, or pending). -1: there is none, or
 * it has no alerts. */
int topology_alerting(const struct topology *t, const char *name);
bool alert_goes_to(const struct alert_conf *a, const char *sink); /* whether `to` lists it */
int topology_stream_version_of(const struct topology *t, const char *name, uint32_t version);
/* Whether nothing is to be heard of that name, be it an edge of this topology or not. */
bool topology_revoked(const struct topology *t, const char *name);
bool stream_expects(const struct stream_conf *s, uint32_t edge);

const char *cloud_state_text(enum cloud_state s);   /* "member", "leaving", "dead", "gone" */
const char *stream_phase_text(enum stream_phase p); /* "current", "pending", "closing", "ended", "retired" */

/* Shard s is group s + 1. */
#define META_GROUP 0
static inline uint32_t topology_groups(const struct topology *t)
{
	return t->shards + 1;
}
/* How many replicas a group has: fewer than t->replicas where there are too few nodes. */
static inline uint32_t topology_replicas(const struct topology *t, uint32_t group)
{
	return t->places[group].count;
}
/* Replica `rank` of a group, below topology_replicas(). Rank 0 is the preferred leader. */
static inline uint32_t topology_replica(const struct topology *t, uint32_t group, uint32_t rank)
{
	return t->places[group].nodes[rank];
}
/* The node's rank in the group, or -1: it should hold no replica of it. */
static inline int topology_rank(const struct topology *t, uint32_t group, uint32_t node)
{
	for (uint32_t r = 0; r < t->places[group].count; r++) {
		if (t->places[group].nodes[r] == node)
			return (int)r;
	}
	return -1;
}
/* The placement of a cluster that begins: replicas of consecutive groups on consecutive nodes, so that leaders spread over all. */
void topology_place(struct topology *t);
/* What the placement of a cluster that begins follows from, but for the replicas, as one number: its shards, and its nodes in their
 * order. Never 0. */
uint64_t topology_listed(const struct topology *t);

/* A group: for each tag of the stream's `by`, varint length and value ("" where the tag is missing), in order.
 * The shard: XXH3-64 of the stream's name, a NUL and the group, modulo shards. */
uint32_t stream_shard(const struct topology *t, const char *stream, struct bytes group);

/* Whether text is a name: 1 to NAME_MAX_BYTES of [A-Za-z0-9_.-]. */
bool name_valid(const char *text);
/* "count", "p99", "p99.9", "distinct(site)" ...: fills *ret_fn (text and tag are fresh copies), else WEIR_EINVAL. */
int function_parse(const char *text, struct function_conf *ret_fn);
void function_clear(struct function_conf *fn);
/* Whether the stream's partials can answer fn (any quantile where one is computed, else exactly those computed). */
bool stream_computes(const struct stream_conf *s, const struct function_conf *fn);

/* The seed of distinct sketches: XXH3-64 of the cluster's name. */
uint64_t topology_distinct_seed(const struct topology *t);

/* Shell-style match of a whole text: * ? [a-z] [!a-z], \ takes the next character as it is. Linear in practice,
 * O(pattern * text) at worst. */
bool glob_match(const char *pattern, const char *text, size_t text_len);

#endif
