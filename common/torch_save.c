#include "common/torch_save.h"

#include "common/hash.h"

#include <stdint.h>
#include <string.h>

/*
 * DESIGN. Records in the order data.pkl, byteorder, data/0, version; all are stored, and an extra
 * field in each local header pads its data to a multiple of 64 bytes, as torch's own writer does.
 * No ZIP64: a payload is far below 4 GiB.
 */
#define N_RECORDS      4
#define HEADER_BYTES   30 /* of a local header, before its name */
#define EXTRA_BYTES    4  /* "FB" and the length of the padding */
#define ALIGNMENT      64
#define PICKLE_MAX     256
#define OVERHEAD_BYTES 2048 /* headers, padding, directory and pickle together */
#define VERSION        20   /* of ZIP, 2.0 */
#define DATE           0x0021

struct record {
    const char *name;
    const void *bytes;
    size_t n;
    uint32_t crc;
    size_t offset;
};

static void put_u16(struct gdfo_buf *b, size_t v)
{
    const unsigned char bytes[2] = {(unsigned char)v, (unsigned char)(v >> 8)};
    gdfo_buf_addn(b, bytes, sizeof bytes);
}

size_t gdfo_torch_width(enum gdfo_torch_type type)
{
    return type == GDFO_TORCH_F32 ? 4 : 2;
}

size_t gdfo_torch_save_bytes(enum gdfo_torch_type type, uint32_t rows, uint32_t cols)
{
    return OVERHEAD_BYTES + (size_t)rows * cols * gdfo_torch_width(type);
}

static const char *storage_name(enum gdfo_torch_type type)
{
    switch (type) {
    case GDFO_TORCH_F32: return "FloatStorage";
    case GDFO_TORCH_F16: return "HalfStorage";
    case GDFO_TORCH_BF16: return "BFloat16Storage";
    }
    return "";
}

/* The shortest opcode that holds v. */
static void put_int(struct gdfo_buf *b, uint32_t v)
{
    if (v < 256) {
        gdfo_buf_addc(b, 'K');
        gdfo_buf_addc(b, (char)(unsigned char)v);
    } else if (v < 65536) {
        gdfo_buf_addc(b, 'M');
        put_u16(b, v);
    } else {
        gdfo_buf_addc(b, 'J');
        gdfo_buf_u32(b, v);
    }
}

static void put_text(struct gdfo_buf *b, const char *text)
{
    gdfo_buf_addc(b, 'X');
    gdfo_buf_u32(b, (unsigned)strlen(text));
    gdfo_buf_add(b, text);
}

/* _rebuild_tensor_v2(storage, 0, (rows, cols), (cols, 1), False, OrderedDict()), protocol 2. */
static void put_pickle(struct gdfo_buf *b, enum gdfo_torch_type type, uint32_t rows, uint32_t cols)
{
    gdfo_buf_add(b, "\x80\x02"
                    "ctorch._utils\n_rebuild_tensor_v2\n((");
    put_text(b, "storage");
    gdfo_buf_addf(b, "ctorch\n%s\n", storage_name(type));
    put_text(b, "0");
    put_text(b, "cpu");
    put_int(b, rows * cols);
    gdfo_buf_add(b, "tQ");
    put_int(b, 0);
    put_int(b, rows);
    put_int(b, cols);
    gdfo_buf_addc(b, '\x86');
    put_int(b, cols);
    put_int(b, 1);
    gdfo_buf_add(b, "\x86\x89"
                    "ccollections\nOrderedDict\n)RtR.");
}

/* What local header and directory entry have in common, from the flags to the extra's length. */
static void put_common(struct gdfo_buf *b, const struct record *r, size_t n_extra)
{
    put_u16(b, 0); /* flags */
    put_u16(b, 0); /* stored */
    put_u16(b, 0); /* time */
    put_u16(b, DATE);
    gdfo_buf_u32(b, r->crc);
    gdfo_buf_u32(b, (unsigned)r->n);
    gdfo_buf_u32(b, (unsigned)r->n);
    put_u16(b, strlen(r->name));
    put_u16(b, n_extra);
}

static void put_record(struct gdfo_buf *b, struct record *r, size_t start)
{
    static const char padding[ALIGNMENT + 1] =
        "ZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZ";
    size_t n_pad, end;
    r->offset = b->len - start;
    r->crc = gdfo_crc32(0, r->bytes, r->n);
    end = r->offset + HEADER_BYTES + EXTRA_BYTES + strlen(r->name);
    n_pad = (ALIGNMENT - end % ALIGNMENT) % ALIGNMENT;
    gdfo_buf_addn(b, "PK\x03\x04", 4);
    put_u16(b, VERSION);
    put_common(b, r, EXTRA_BYTES + n_pad);
    gdfo_buf_add(b, r->name);
    gdfo_buf_add(b, "FB");
    put_u16(b, n_pad);
    gdfo_buf_addn(b, padding, n_pad);
    gdfo_buf_addn(b, r->bytes, r->n);
}

static void put_entry(struct gdfo_buf *b, const struct record *r)
{
    gdfo_buf_addn(b, "PK\x01\x02", 4);
    put_u16(b, VERSION); /* made by */
    put_u16(b, VERSION);
    put_common(b, r, 0);
    put_u16(b, 0);      /* comment */
    put_u16(b, 0);      /* disk */
    put_u16(b, 0);      /* internal attributes */
    gdfo_buf_u32(b, 0); /* external attributes */
    gdfo_buf_u32(b, (unsigned)r->offset);
    gdfo_buf_add(b, r->name);
}

static void put_zip(struct gdfo_buf *out, struct record *records)
{
    const size_t start = out->len;
    size_t directory, end;
    for (int i = 0; i < N_RECORDS; i++) {
        put_record(out, &records[i], start);
    }
    directory = out->len - start;
    for (int i = 0; i < N_RECORDS; i++) {
        put_entry(out, &records[i]);
    }
    end = out->len - start;
    gdfo_buf_addn(out, "PK\x05\x06", 4);
    gdfo_buf_u32(out, 0); /* disks */
    put_u16(out, N_RECORDS);
    put_u16(out, N_RECORDS);
    gdfo_buf_u32(out, (unsigned)(end - directory));
    gdfo_buf_u32(out, (unsigned)directory);
    put_u16(out, 0); /* comment */
}

enum gdfo_status gdfo_torch_save(struct gdfo_buf *out, enum gdfo_torch_type type, uint32_t rows,
                                 uint32_t cols, const void *data, struct gdfo_error *err)
{
    struct gdfo_buf pickle;
    const uint64_t n = (uint64_t)rows * cols;
    if (n > INT32_MAX || n * gdfo_torch_width(type) > UINT32_MAX - OVERHEAD_BYTES) {
        return gdfo_error_set(err, GDFO_STATUS_LIMIT, "torch file of %u x %u numbers, at most 2^31",
                              rows, cols);
    }
    gdfo_buf_init(&pickle, PICKLE_MAX);
    put_pickle(&pickle, type, rows, cols);
    if (gdfo_buf_ok(&pickle)) {
        struct record records[N_RECORDS] = {
            {.name = "archive/data.pkl", .bytes = pickle.data, .n = pickle.len},
            {.name = "archive/byteorder", .bytes = "little", .n = 6},
            {.name = "archive/data/0", .bytes = data, .n = (size_t)n * gdfo_torch_width(type)},
            {.name = "archive/version", .bytes = "3\n", .n = 2},
        };
        put_zip(out, records);
    } else {
        out->is_broken = 1;
    }
    gdfo_buf_deinit(&pickle);
    return gdfo_buf_ok(out) ? GDFO_STATUS_OK : gdfo_error_no_memory(err, "a torch file");
}
