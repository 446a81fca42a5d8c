#include "common/hash.h"
#include "server/model/train/train_priv.h"

#include <math.h>
#include <string.h>

/* magic, u32 mode, rank, layers, precision; u64 parameters; floats; the optimiser's state; u32
 * crc32c. */
#define HEAD_BYTES 32
#define TAIL_BYTES 4

static const char magic[8] = {'G', 'D', 'F', 'O', 'S', 'T', 'U', '1'};

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "snapshots hold little-endian floats");

static void head(const struct gdfo_student *s, struct gdfo_buf *out)
{
    gdfo_buf_addn(out, magic, sizeof magic);
    gdfo_buf_u32(out, (unsigned)s->opts.mode);
    gdfo_buf_u32(out, s->opts.mode == GDFO_TRAIN_ADAPTER ? s->opts.adapter_rank : 0);
    gdfo_buf_u32(out, s->net->config.n_layers);
    gdfo_buf_u32(out, (unsigned)s->opts.precision);
    gdfo_buf_u64(out, s->net->n_params);
}

static size_t state_bytes(const struct gdfo_student *s)
{
    return HEAD_BYTES + s->net->n_params * sizeof(float) +
           gdfo_adamw_state_bytes(s->net->n_params) + TAIL_BYTES;
}

enum gdfo_status gdfo_student_save(const struct gdfo_student *s, struct gdfo_buf *out,
                                   struct gdfo_error *err)
{
    size_t first = out->len;
    head(s, out);
    gdfo_buf_addn(out, s->net->params, s->net->n_params * sizeof(float));
    gdfo_adamw_save(&s->adamw, out);
    if (gdfo_buf_ok(out)) {
        gdfo_buf_u32(out, gdfo_crc32c(0, out->data + first, out->len - first));
    }
    if (!gdfo_buf_ok(out)) {
        return gdfo_error_set(err, GDFO_STATUS_LIMIT,
                              "student state of %zu bytes does not fit into a buffer of %zu",
                              state_bytes(s), out->max);
    }
    return GDFO_STATUS_OK;
}

static uint64_t read_le(const unsigned char *p, size_t n)
{
    uint64_t v = 0;
    while (n-- > 0) {
        v = v << 8 | p[n];
    }
    return v;
}

static int is_finite(const unsigned char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float x;
        memcpy(&x, p + i * sizeof x, sizeof x);
        if (!isfinite(x)) {
            return 0;
        }
    }
    return 1;
}

static const char *precision_name(uint64_t number)
{
    return number < GDFO_PRECISION_COUNT ? gdfo_precision_name((enum gdfo_precision)number)
                                         : "unknown";
}

enum gdfo_status gdfo_student_load(struct gdfo_student *s, const void *bytes, size_t n,
                                   struct gdfo_error *err)
{
    const unsigned char *p = bytes;
    size_t n_floats = s->net->n_params;
    size_t moments = HEAD_BYTES + n_floats * sizeof(float);
    enum gdfo_status st;
    if (n < HEAD_BYTES + TAIL_BYTES || memcmp(p, magic, sizeof magic) != 0 ||
        read_le(p + n - TAIL_BYTES, TAIL_BYTES) != gdfo_crc32c(0, p, n - TAIL_BYTES)) {
        return gdfo_error_set(err, GDFO_STATUS_CORRUPT,
                              "student state of %zu bytes: no student, or its checksum differs", n);
    }
    if (read_le(p + 8, 4) != (uint64_t)s->opts.mode ||
        read_le(p + 12, 4) !=
            (s->opts.mode == GDFO_TRAIN_ADAPTER ? (uint64_t)s->opts.adapter_rank : 0) ||
        read_le(p + 16, 4) != s->net->config.n_layers || read_le(p + 24, 8) != n_floats ||
        n != state_bytes(s)) {
        return gdfo_error_set(
            err, GDFO_STATUS_INVALID,
            "student state of mode %u, rank %u, %u layers: want mode %u, rank %u, "
            "%u layers, %zu parameters",
            (unsigned)read_le(p + 8, 4), (unsigned)read_le(p + 12, 4), (unsigned)read_le(p + 16, 4),
            (unsigned)s->opts.mode, s->opts.adapter_rank, s->net->config.n_layers, n_floats);
    }
    if (read_le(p + 20, 4) != (uint64_t)s->opts.precision) {
        return gdfo_error_set(
            err, GDFO_STATUS_INVALID, "student state of a student in precision %s: want %s",
            precision_name(read_le(p + 20, 4)), gdfo_precision_name(s->opts.precision));
    }
    if (!is_finite(p + HEAD_BYTES, n_floats)) {
        return gdfo_error_set(err, GDFO_STATUS_CORRUPT, "student state: a weight is not finite");
    }
    st = gdfo_adamw_load(&s->adamw, p + moments, n - moments - TAIL_BYTES, err);
    if (st == GDFO_STATUS_OK) {
        if (n_floats > 0) {
            memcpy(s->net->params, p + HEAD_BYTES, n_floats * sizeof(float));
            gdfo_net_changed(s->net);
        }
        s->version += s->opts.mode == GDFO_TRAIN_FULL;
    }
    return st;
}
