/* Regular expressions as Prometheus' matchers have them: the syntax of RE2, of the whole text, over code points of UTF-8.
 *
 * A pattern becomes a small program whose threads walk through the text together (Thompson 1968; Cox, "Regular Expression Matching:
 * the Virtual Machine Approach", 2009), so time is at most text * program, whatever the pattern.
 *
 * Known: characters, . (not a new line, but under s), [classes] with ranges and [:names:], \d \w \s \D \W \S, \b \B, ^ $ \A \z,
 * groups (also (?:...) and (?P<name>...)), |, * + ? {n} {n,} {n,m} and their lazy forms, flags i and s, \t \n \r \f \v \a, \x41 and
 * \x{1F600}, punctuation behind \. Refused, by a text that says so: classes of Unicode (\p), \Q...\E, octal numbers, flags m and U, and
 * what RE2 refuses too (references back, looking around). Under (?i) only letters of ASCII are the same in both cases, so others are refused
 * there. Bytes that are no UTF-8 are U+FFFD each, as in Go. Pure. */
#ifndef WEIR_COMMON_REGEX_H
#define WEIR_COMMON_REGEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REGEX_PATTERN_MAX (16 * 1024) /* bytes */
#define REGEX_PROGRAM_MAX 32768       /* steps of a program */
#define REGEX_DEPTH_MAX 100           /* groups in groups */
#define REGEX_REPEAT_MAX 1000         /* of {n,m} */

struct regex; /* with what a match needs: one thread at a time */

/* WEIR_EINVAL, *ret_why being a static text and *ret_at the byte of the pattern where it is wrong; WEIR_ETOOBIG likewise. */
int regex_compile(const char *pattern, size_t n, struct regex **ret_regex, const char **ret_why, size_t *ret_at);
void regex_free(struct regex *r); /* NULL is fine */
size_t regex_size(const struct regex *r); /* steps of its program: 36 bytes of memory each, beside its classes */
/* Whether all of the text matches. *left falls by what it took, down to 0, where it gives up and says no: so that who matches many texts
 * can bound it. */
bool regex_match(struct regex *r, const char *text, size_t n, uint64_t *left);

#endif
