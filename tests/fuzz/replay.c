/*
 * Replays corpus files through one fuzz target, in any compiler and preset: what the fuzzer found
 * once stays a test. usage: replay FOLDER. Each input also comes with every prefix of it, and with
 * each of its first bytes changed, which costs little and covers the error paths.
 */
#include "common/file.h"
#include "common/mem.h"
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>

#define INPUT_MAX  ((size_t)1 << 20)
#define FLIP_BYTES 512u

/* In a block of exactly n bytes, so that the sanitizer sees one byte too many. */
static void run(const char *bytes, size_t n)
{
    uint8_t *copy = gdfo_mem_dup(bytes, n);
    if (copy) {
        (void)LLVMFuzzerTestOneInput(copy, n);
    }
    gdfo_mem_free(copy);
}

static void run_variants(struct gdfo_buf *b)
{
    const size_t step = 1 + b->len / 400;
    run(b->data, b->len);
    for (size_t n = 0; n < b->len; n += step) {
        run(b->data, n);
    }
    for (size_t i = 0; i < b->len && i < FLIP_BYTES; i++) {
        b->data[i] = (char)(b->data[i] ^ 0xFF);
        run(b->data, b->len);
        b->data[i] = (char)(b->data[i] ^ 0xFF);
    }
}

static int replay(const char *folder, const char *name)
{
    char path[4096];
    struct gdfo_buf b;
    struct gdfo_error err = {0};
    enum gdfo_status status;
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    gdfo_buf_init(&b, INPUT_MAX);
    status = gdfo_file_read(path, &b, &err);
    if (status == GDFO_STATUS_OK) {
        run_variants(&b);
    } else {
        (void)fprintf(stderr, "%s\n", err.text);
    }
    gdfo_buf_deinit(&b);
    return status == GDFO_STATUS_OK;
}

int main(int argc, char **argv)
{
    size_t n = 0;
    int ok = 1;
    struct dirent *entry;
    DIR *dir = argc == 2 ? opendir(argv[1]) : NULL;
    if (!dir) {
        (void)fprintf(stderr, "usage: replay FOLDER (of inputs)\n");
        return 2;
    }
    while ((entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] != '.') {
            ok = replay(argv[1], entry->d_name) && ok;
            n++;
        }
    }
    (void)closedir(dir);
    (void)printf("%zu inputs\n", n);
    return ok && n > 0 ? 0 : 1;
}
