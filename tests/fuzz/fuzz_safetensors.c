/* Two bytes (little-endian length of the config), config.json, then the safetensors file. */
#include "common/check.h"
#include "common/mem.h"
#include "server/model/format/format.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

#define READ_MAX 65536u

static void read_tensor(const struct gdfo_model_file *f, const char *name, size_t n)
{
    struct gdfo_error err = {0};
    float *w = n <= READ_MAX ? gdfo_mem_array(n, sizeof *w) : NULL;
    if (w && gdfo_model_file_read(f, name, w, n, &err) != GDFO_STATUS_OK) {
        GDFO_CHECK(strstr(err.text, "not finite") != NULL);
    }
    gdfo_mem_free(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct gdfo_error err = {0};
    struct gdfo_model_file *f = NULL;
    const size_t n_config = n >= 2 ? (size_t)data[0] | (size_t)data[1] << 8 : 0;
    struct gdfo_reader config;
    struct gdfo_reader file;
    if (n < 2 || n_config > n - 2) {
        return 0;
    }
    config = gdfo_reader_memory(data + 2, n_config, "config");
    file = gdfo_reader_memory(data + 2 + n_config, n - 2 - n_config, "fuzz");
    if (gdfo_model_file_open(&f, &file, &config, &err) == GDFO_STATUS_OK) {
        const struct gdfo_model_config *c = gdfo_model_file_config(f);
        const size_t kv = (size_t)c->n_kv_heads * c->d_head;
        read_tensor(f, c->is_masked ? "token_embd_norm.weight" : "output_norm.weight", c->d_model);
        read_tensor(f, "token_embd.weight", (size_t)c->vocab * c->d_model);
        read_tensor(f, "blk.0.attn_q.weight", (size_t)c->d_model * c->d_model);
        read_tensor(f, "blk.0.attn_k.weight", kv * c->d_model);
    } else {
        GDFO_CHECK(f == NULL && strncmp(err.text, "fuzz: ", 6) == 0);
    }
    gdfo_model_file_destroy(f);
    return 0;
}
