#ifndef GDFO_COMMON_PARSE_H
#define GDFO_COMMON_PARSE_H

#include <stddef.h>
#include <stdint.h>

/* Whole-string number parsers, decimal, no blanks, independent of locale. 1 on success, else 0 and
 * *out untouched. */
int gdfo_parse_i64(const char *s, int64_t min, int64_t max, int64_t *out);
int gdfo_parse_f64(const char *s, double *out); /* finite numbers only */
int gdfo_parse_bool(const char *s, int *out);   /* true false yes no on off 1 0 */

/* Length of the valid UTF-8 text in s[0..n): n when all of it is valid, else the offset of the
 * first bad byte. Surrogates, overlong forms and code points past U+10FFFF are bad. */
size_t gdfo_utf8_valid(const char *s, size_t n);

/* Decodes one code point of valid UTF-8 at s (n > 0 bytes left); returns its length 1..4, 0 when
 * invalid. */
size_t gdfo_utf8_next(const char *s, size_t n, uint32_t *code_point);

/* Writes one code point as UTF-8 (1..4 bytes, no NUL); returns the number of bytes. */
size_t gdfo_utf8_put(char out[4], uint32_t code_point);

#endif
