/* One line per event to stderr: level=… module=… msg="…" key=value …
 *
 * The message says what happened and, where someone must act, what to do. Extra fields go into the format after the
 * message text, separated by a `;`: log_warn("uplink", "no answer; cloud=%s silent_ms=%lld", ...) prints
 * msg="no answer" cloud=… silent_ms=…. Each line is written whole, so lines of threads do not mix. Under systemd
 * (JOURNAL_STREAM set) each line starts with its syslog priority, <4> and so on. Thread-safe. */
#ifndef WEIR_COMMON_LOG_H
#define WEIR_COMMON_LOG_H

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* Lines above this level are dropped; default info. Call before threads start. */
void log_set_level(enum log_level level);
/* "error", "warn", "info", "debug": 0, else WEIR_EINVAL. */
int log_level_parse(const char *name, enum log_level *ret_level);

void log_write(enum log_level level, const char *module, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* What a person is told who starts a program, as it is: no level, no module; under systemd each line has its priority. Appends a line's
 * end where there is none. */
void log_plain(enum log_level level, const char *text);

#define log_error(module, ...) log_write(LOG_LEVEL_ERROR, module, __VA_ARGS__)
#define log_warn(module, ...) log_write(LOG_LEVEL_WARN, module, __VA_ARGS__)
#define log_info(module, ...) log_write(LOG_LEVEL_INFO, module, __VA_ARGS__)
#define log_debug(module, ...) log_write(LOG_LEVEL_DEBUG, module, __VA_ARGS__)

#endif
