#ifndef GDFO_COMMON_JSON_WRITE_H
#define GDFO_COMMON_JSON_WRITE_H

#include "common/buf.h"
#include "common/json.h"

#include <stdint.h>

/* Streaming writer: commas by itself, numbers with 17 significant digits, non-finite numbers as
 * null.
 *
 *   struct gdfo_json_writer w = gdfo_json_writer(&buf);
 *   gdfo_json_open(&w, NULL, '{'); gdfo_json_put_str(&w, "id", id); gdfo_json_close(&w, '}');
 *
 * key is NULL inside arrays and at the top. Failures show in gdfo_buf_ok(&buf).
 */
struct gdfo_json_writer {
    struct gdfo_buf *buf;
    int needs_comma;
};

struct gdfo_json_writer gdfo_json_writer(struct gdfo_buf *buf);
void gdfo_json_open(struct gdfo_json_writer *w, const char *key, char bracket); /* '{' or '[' */
void gdfo_json_close(struct gdfo_json_writer *w, char bracket);                 /* '}' or ']' */
void gdfo_json_put_str(struct gdfo_json_writer *w, const char *key,
                       const char *s); /* NULL s writes null */
void gdfo_json_put_strn(struct gdfo_json_writer *w, const char *key, const char *s,
                        size_t n); /* s need not end in NUL */
void gdfo_json_put_int(struct gdfo_json_writer *w, const char *key, int64_t v);
void gdfo_json_put_num(struct gdfo_json_writer *w, const char *key, double v);
void gdfo_json_put_bool(struct gdfo_json_writer *w, const char *key, int v);
void gdfo_json_put_null(struct gdfo_json_writer *w, const char *key);
void gdfo_json_put_raw(struct gdfo_json_writer *w, const char *key,
                       const char *json); /* valid JSON text */
void gdfo_json_put_node(struct gdfo_json_writer *w, const char *key, const struct gdfo_json *v);

#endif
