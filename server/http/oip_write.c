#include "common/json_write.h"
#include "server/http/oip_priv.h"

#include <string.h>

#define JSON_FLOAT_BYTES 16 /* "-1.23456789e-12," */
#define JSON_INT_BYTES   12
#define FRAME_BYTES      4096 /* everything but data */

/* Writes the shape of an output; returns its elements. */
static size_t shape_of(const struct gdfo_oip_answer *a, enum gdfo_oip_output which,
                       uint32_t shape[3], size_t *n_dims)
{
    const struct gdfo_oip_tensor *in = a->request->in;
    const uint32_t n_texts = (uint32_t)in[GDFO_OIP_TEXT].n;
    size_t n = 0;
    size_t count = 1;
    if (gdfo_oip_output_row(which)->type == GDFO_OIP_FP32 && in[GDFO_OIP_SOFT_PROMPT].n_dims == 3) {
        shape[n++] = in[GDFO_OIP_SOFT_PROMPT].shape[0];
    }
    shape[n++] = n_texts;
    switch (which) {
    case GDFO_OIP_LABEL_LOGPROBS: shape[n++] = (uint32_t)in[GDFO_OIP_LABEL_IDS].n; break;
    case GDFO_OIP_LOGITS: shape[n++] = a->vocab; break;
    case GDFO_OIP_HIDDEN: shape[n++] = a->d_model; break;
    case GDFO_OIP_TOKENS_USED:
    case GDFO_OIP_TOKENS_CACHED:
    case GDFO_OIP_OUTPUT_COUNT: break;
    }
    for (size_t i = 0; i < n; i++) {
        count *= shape[i];
    }
    *n_dims = n;
    return count;
}

uint64_t gdfo_oip_answer_bytes(const struct gdfo_oip_answer *a)
{
    uint64_t bytes = FRAME_BYTES;
    for (size_t i = 0; i < a->request->n_out; i++) {
        const struct gdfo_oip_want *w = &a->request->out[i];
        uint32_t shape[3];
        size_t n_dims;
        uint64_t each = gdfo_oip_output_row(w->which)->type == GDFO_OIP_FP32 ? JSON_FLOAT_BYTES
                                                                             : JSON_INT_BYTES;
        bytes += shape_of(a, w->which, shape, &n_dims) * (w->is_binary ? 4 : each);
    }
    return bytes;
}

/* Nine digits bring every float back. */
static void write_numbers(struct gdfo_json_writer *w, enum gdfo_oip_type type, const void *data,
                          size_t n)
{
    const float *floats = data;
    const int32_t *ints = data;
    gdfo_json_open(w, "data", '[');
    for (size_t i = 0; i < n; i++) {
        if (type == GDFO_OIP_FP32) {
            gdfo_buf_addf(w->buf, i > 0 ? ",%.9g" : "%.9g", (double)floats[i]);
        } else {
            gdfo_buf_addf(w->buf, i > 0 ? ",%d" : "%d", ints[i]);
        }
    }
    gdfo_json_close(w, ']');
}

static void write_output(const struct gdfo_oip_answer *a, const struct gdfo_oip_want *want,
                         struct gdfo_json_writer *w)
{
    const struct gdfo_oip_row *row = gdfo_oip_output_row(want->which);
    uint32_t shape[3];
    size_t n_dims;
    size_t n = shape_of(a, want->which, shape, &n_dims);
    gdfo_json_open(w, NULL, '{');
    gdfo_json_put_str(w, "name", row->name);
    gdfo_json_open(w, "shape", '[');
    for (size_t i = 0; i < n_dims; i++) {
        gdfo_json_put_int(w, NULL, shape[i]);
    }
    gdfo_json_close(w, ']');
    gdfo_json_put_str(w, "datatype", gdfo_oip_type_name(row->type));
    if (want->is_binary) {
        gdfo_json_open(w, "parameters", '{');
        gdfo_json_put_int(w, "binary_data_size", (int64_t)(4 * n));
        gdfo_json_close(w, '}');
    } else {
        write_numbers(w, row->type, a->data[want->which], n);
    }
    gdfo_json_close(w, '}');
}

static void write_binary(const struct gdfo_oip_answer *a, const struct gdfo_oip_want *want,
                         struct gdfo_buf *out)
{
    const unsigned char *bytes = a->data[want->which];
    uint32_t shape[3];
    size_t n_dims;
    size_t n = shape_of(a, want->which, shape, &n_dims);
    for (size_t i = 0; i < n; i++) {
        uint32_t u; /* of a float or an integer: its bits, least significant byte first */
        memcpy(&u, bytes + 4 * i, sizeof u);
        gdfo_buf_u32(out, u);
    }
}

size_t gdfo_oip_answer_write(const struct gdfo_oip_answer *a, struct gdfo_buf *out)
{
    const struct gdfo_oip_request *q = a->request;
    struct gdfo_json_writer w = gdfo_json_writer(out);
    const size_t start = out->len;
    size_t n_json;
    int is_binary = 0;
    gdfo_json_open(&w, NULL, '{');
    gdfo_json_put_str(&w, "model_name", a->model);
    gdfo_json_put_str(&w, "model_version", "1");
    if (q->has_id) {
        gdfo_json_put_str(&w, "id", q->id);
    }
    gdfo_json_open(&w, "parameters", '{');
    gdfo_json_put_str(&w, "contract", GDFO_OIP_CONTRACT);
    gdfo_json_put_int(&w, "texts_truncated", a->n_truncated);
    gdfo_json_close(&w, '}');
    gdfo_json_open(&w, "outputs", '[');
    for (size_t i = 0; i < q->n_out; i++) {
        write_output(a, &q->out[i], &w);
        is_binary |= q->out[i].is_binary;
    }
    gdfo_json_close(&w, ']');
    gdfo_json_close(&w, '}');
    n_json = out->len - start;
    for (size_t i = 0; i < q->n_out; i++) {
        if (q->out[i].is_binary) {
            write_binary(a, &q->out[i], out);
        }
    }
    return is_binary ? n_json : 0;
}
