#include "tests/support/gguf_maker.h"

#include "common/mem.h"
#include "tests/support/test.h"

#include <string.h>

#define FILE_MAX ((size_t)256 << 20)

void gdfo_test_gguf_init(struct gdfo_test_gguf *m)
{
    memset(m, 0, sizeof *m);
    m->version = 3;
    m->count_kvs = GDFO_TEST_GGUF_OFFSET_AUTO;
    m->count_tensors = GDFO_TEST_GGUF_OFFSET_AUTO;
    m->alignment = 32;
}

void gdfo_test_gguf_deinit(struct gdfo_test_gguf *m)
{
    for (size_t i = 0; i < m->n_kvs; i++) {
        gdfo_buf_deinit(&m->kvs[i].key);
        gdfo_buf_deinit(&m->kvs[i].value);
    }
    for (size_t i = 0; i < m->n_tensors; i++) {
        gdfo_buf_deinit(&m->tensors[i].name);
        gdfo_buf_deinit(&m->tensors[i].bytes);
    }
    gdfo_mem_free(m->kvs);
    gdfo_mem_free(m->tensors);
    gdfo_test_gguf_init(m);
}

static struct gdfo_test_kv *find_kv(struct gdfo_test_gguf *m, const char *key)
{
    for (size_t i = 0; i < m->n_kvs; i++) {
        if (strcmp(m->kvs[i].key.data, key) == 0) {
            return &m->kvs[i];
        }
    }
    return NULL;
}

struct gdfo_test_kv *gdfo_test_gguf_add(struct gdfo_test_gguf *m, const char *key)
{
    void *p = m->kvs;
    struct gdfo_test_kv *kv;
    assert_true(gdfo_mem_grow(&p, &m->cap_kvs, m->n_kvs + 1, sizeof *m->kvs));
    m->kvs = p;
    kv = &m->kvs[m->n_kvs++];
    gdfo_buf_init(&kv->key, FILE_MAX);
    gdfo_buf_init(&kv->value, FILE_MAX);
    gdfo_buf_add(&kv->key, key);
    return kv;
}

void gdfo_test_gguf_set(struct gdfo_test_gguf *m, const char *key, uint32_t type, const void *value,
                        size_t n)
{
    struct gdfo_test_kv *kv = find_kv(m, key);
    if (!kv) {
        kv = gdfo_test_gguf_add(m, key);
    }
    kv->type = type;
    gdfo_buf_reset(&kv->value);
    gdfo_buf_addn(&kv->value, value, n);
}

void gdfo_test_gguf_u32(struct gdfo_test_gguf *m, const char *key, uint32_t v)
{
    gdfo_test_gguf_set(m, key, 4, &v, sizeof v);
}

void gdfo_test_gguf_f32(struct gdfo_test_gguf *m, const char *key, float v)
{
    gdfo_test_gguf_set(m, key, 6, &v, sizeof v);
}

static void add_text(struct gdfo_buf *b, const char *text, size_t n)
{
    gdfo_buf_u64(b, n);
    gdfo_buf_addn(b, text, n);
}

void gdfo_test_gguf_text(struct gdfo_test_gguf *m, const char *key, const char *text)
{
    struct gdfo_buf b;
    gdfo_buf_init(&b, FILE_MAX);
    add_text(&b, text, strlen(text));
    gdfo_test_gguf_set(m, key, 8, b.data, b.len);
    gdfo_buf_deinit(&b);
}

void gdfo_test_gguf_texts(struct gdfo_test_gguf *m, const char *key, const char *const *texts,
                          size_t n)
{
    struct gdfo_buf b;
    gdfo_buf_init(&b, FILE_MAX);
    gdfo_buf_u32(&b, 8);
    gdfo_buf_u64(&b, n);
    for (size_t i = 0; i < n; i++) {
        add_text(&b, texts[i], strlen(texts[i]));
    }
    gdfo_test_gguf_set(m, key, 9, b.data, b.len);
    gdfo_buf_deinit(&b);
}

void gdfo_test_gguf_drop(struct gdfo_test_gguf *m, const char *key)
{
    struct gdfo_test_kv *kv = find_kv(m, key);
    if (!kv) {
        fail_msg("no key %s", key);
        return;
    }
    gdfo_buf_deinit(&kv->key);
    gdfo_buf_deinit(&kv->value);
    *kv = m->kvs[--m->n_kvs];
}

struct gdfo_test_tensor *gdfo_test_gguf_tensor(struct gdfo_test_gguf *m, const char *name,
                                               uint64_t columns, uint64_t rows)
{
    void *p = m->tensors;
    struct gdfo_test_tensor *t;
    assert_true(gdfo_mem_grow(&p, &m->cap_tensors, m->n_tensors + 1, sizeof *m->tensors));
    m->tensors = p;
    t = &m->tensors[m->n_tensors++];
    *t = (struct gdfo_test_tensor){.n_dims = rows ? 2 : 1,
                                   .dims = {columns, rows ? rows : 1, 1, 1, 1},
                                   .offset = GDFO_TEST_GGUF_OFFSET_AUTO};
    gdfo_buf_init(&t->name, FILE_MAX);
    gdfo_buf_init(&t->bytes, FILE_MAX);
    gdfo_buf_add(&t->name, name);
    for (uint64_t i = 0; i < columns * t->dims[1]; i++) {
        const float v = (float)(i + 1) / 256.0F;
        gdfo_buf_addn(&t->bytes, &v, sizeof v);
    }
    return t;
}

struct gdfo_test_tensor *gdfo_test_gguf_find(struct gdfo_test_gguf *m, const char *name)
{
    for (size_t i = 0; i < m->n_tensors; i++) {
        if (strcmp(m->tensors[i].name.data, name) == 0) {
            return &m->tensors[i];
        }
    }
    fail_msg("no tensor %s", name);
    return NULL;
}

void gdfo_test_gguf_tiny(struct gdfo_test_gguf *m)
{
    gdfo_test_gguf_init(m);
    gdfo_test_gguf_text(m, "general.architecture", "llama");
    gdfo_test_gguf_text(m, "general.name", "tiny");
    gdfo_test_gguf_u32(m, "llama.block_count", 1);
    gdfo_test_gguf_u32(m, "llama.embedding_length", 32);
    gdfo_test_gguf_u32(m, "llama.feed_forward_length", 64);
    gdfo_test_gguf_u32(m, "llama.context_length", 16);
    gdfo_test_gguf_u32(m, "llama.vocab_size", 8);
    gdfo_test_gguf_u32(m, "llama.attention.head_count", 2);
    gdfo_test_gguf_u32(m, "llama.attention.head_count_kv", 1);
    gdfo_test_gguf_f32(m, "llama.attention.layer_norm_rms_epsilon", 1e-5F);
    (void)gdfo_test_gguf_tensor(m, "token_embd.weight", 32, 8);
    (void)gdfo_test_gguf_tensor(m, "output_norm.weight", 32, 0);
    (void)gdfo_test_gguf_tensor(m, "blk.0.attn_norm.weight", 32, 0);
    (void)gdfo_test_gguf_tensor(m, "blk.0.attn_q.weight", 32, 32);
    (void)gdfo_test_gguf_tensor(m, "blk.0.attn_k.weight", 32, 16);
    (void)gdfo_test_gguf_tensor(m, "blk.0.attn_v.weight", 32, 16);
    (void)gdfo_test_gguf_tensor(m, "blk.0.attn_output.weight", 32, 32);
    (void)gdfo_test_gguf_tensor(m, "blk.0.ffn_norm.weight", 32, 0);
    (void)gdfo_test_gguf_tensor(m, "blk.0.ffn_gate.weight", 32, 64);
    (void)gdfo_test_gguf_tensor(m, "blk.0.ffn_up.weight", 32, 64);
    (void)gdfo_test_gguf_tensor(m, "blk.0.ffn_down.weight", 64, 32);
}

static uint64_t align(uint64_t n, uint64_t to)
{
    return (n + to - 1) / to * to;
}

static void add_infos(const struct gdfo_test_gguf *m, struct gdfo_buf *out)
{
    uint64_t next = 0;
    for (size_t i = 0; i < m->n_tensors; i++) {
        const struct gdfo_test_tensor *t = &m->tensors[i];
        const uint64_t at = t->offset == GDFO_TEST_GGUF_OFFSET_AUTO ? next : t->offset;
        add_text(out, t->name.data, t->name.len);
        gdfo_buf_u32(out, t->n_dims);
        for (uint32_t d = 0; d < t->n_dims && d < 5; d++) {
            gdfo_buf_u64(out, t->dims[d]);
        }
        gdfo_buf_u32(out, t->type);
        gdfo_buf_u64(out, at);
        next = align(next + t->bytes.len, m->alignment);
    }
}

static void pad(struct gdfo_buf *out, uint64_t to)
{
    while (out->len % to != 0) {
        gdfo_buf_addc(out, '\0');
    }
}

void gdfo_test_gguf_build(const struct gdfo_test_gguf *m, struct gdfo_buf *out)
{
    const uint64_t truth = GDFO_TEST_GGUF_OFFSET_AUTO;
    gdfo_buf_init(out, FILE_MAX);
    gdfo_buf_add(out, "GGUF");
    gdfo_buf_u32(out, m->version);
    gdfo_buf_u64(out, m->count_tensors == truth ? m->n_tensors : m->count_tensors);
    gdfo_buf_u64(out, m->count_kvs == truth ? m->n_kvs : m->count_kvs);
    for (size_t i = 0; i < m->n_kvs; i++) {
        add_text(out, m->kvs[i].key.data, m->kvs[i].key.len);
        gdfo_buf_u32(out, m->kvs[i].type);
        gdfo_buf_addn(out, m->kvs[i].value.data, m->kvs[i].value.len);
    }
    add_infos(m, out);
    pad(out, m->alignment);
    for (size_t i = 0; i < m->n_tensors; i++) {
        if (i > 0) {
            pad(out, m->alignment); /* the head ends aligned, so the file's end is the data's */
        }
        gdfo_buf_addn(out, m->tensors[i].bytes.data, m->tensors[i].bytes.len);
    }
    assert_true(gdfo_buf_ok(out));
}
