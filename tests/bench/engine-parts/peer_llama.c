/*
 * llama.cpp as a peer of tests/bench/engine, which compiles this against the headers of the build
 * it measures; no part of our own build. Commands on standard input, one a line, a JSON object
 * each.
 *
 *   peer_llama MODEL.gguf THREADS BACKENDS      BACKENDS: the folder of loadable backends, or -
 *   peer_llama quantize IN.gguf OUT.gguf TYPE BACKENDS|-   TYPE: a number of enum llama_ftype
 *
 *   open WORK.txt UBATCH UNIFIED FLASH   a context for the work; 1 or 0: one KV for all sequences,
 *                                        flash attention
 *   run                                  one llama_decode of all texts behind their pasts, timed,
 *                                        nothing asked of the head
 *   lp                                   the same with the head behind each text's last token
 *   memory
 *
 * WORK.txt: numbers: n_texts n_past n_own n_labels, the labels, each text's past and own ids.
 */
#include <ggml-backend.h>
#include <llama.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

enum { LABELS_MAX = 8, IDS_MAX = 65536 };

static struct {
    struct llama_model *model;
    struct llama_context *ctx;
    int threads;
    int n_texts, n_past, n_own, n_labels;
    int labels[LABELS_MAX], ids[IDS_MAX];
} s;

static void need(int ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "peer_llama: %s\n", what);
        exit(1);
    }
}

static double now(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void read_work(const char *path)
{
    FILE *f = fopen(path, "r");
    int n;
    need(f && fscanf(f, "%d %d %d %d", &s.n_texts, &s.n_past, &s.n_own, &s.n_labels) == 4, path);
    n = s.n_texts * (s.n_past + s.n_own);
    need(n > 0 && n <= IDS_MAX && s.n_labels <= LABELS_MAX, path);
    for (int i = 0; i < s.n_labels; i++) {
        need(fscanf(f, "%d", &s.labels[i]) == 1, path);
    }
    for (int i = 0; i < n; i++) {
        need(fscanf(f, "%d", &s.ids[i]) == 1, path);
    }
    fclose(f);
}

struct took {
    double seconds, cpu;
};

/* Positions first..first+n-1 of every text in one batch. */
static struct took decode(int first, int n, int asks_last)
{
    struct llama_batch b = llama_batch_init(s.n_texts * n, 0, 1);
    struct took took;
    for (int t = 0; t < s.n_texts; t++) {
        for (int i = 0; i < n; i++) {
            int at = b.n_tokens++;
            b.token[at] = s.ids[t * (s.n_past + s.n_own) + first + i];
            b.pos[at] = first + i;
            b.n_seq_id[at] = 1;
            b.seq_id[at][0] = t;
            b.logits[at] = asks_last && i == n - 1;
        }
    }
    took.seconds = -now(CLOCK_MONOTONIC);
    took.cpu = -now(CLOCK_PROCESS_CPUTIME_ID);
    need(llama_decode(s.ctx, b) == 0, "llama_decode");
    llama_synchronize(s.ctx);
    took.seconds += now(CLOCK_MONOTONIC);
    took.cpu += now(CLOCK_PROCESS_CPUTIME_ID);
    llama_batch_free(b);
    return took;
}

static void forget_own(void)
{
    for (int t = 0; t < s.n_texts; t++) {
        llama_memory_seq_rm(llama_get_memory(s.ctx), t, s.n_past, -1);
    }
}

static void do_open(const char *path, int n_ubatch, int is_unified, int is_flash)
{
    struct llama_context_params p = llama_context_default_params();
    int each;
    read_work(path);
    each = (s.n_past + s.n_own + 255) / 256 * 256;
    p.n_ctx = (uint32_t)(is_unified ? (s.n_texts * (s.n_past + s.n_own) + 255) / 256 * 256
                                    : s.n_texts * each);
    p.n_batch = p.n_ctx;
    p.n_ubatch = (uint32_t)n_ubatch;
    p.n_seq_max = (uint32_t)s.n_texts;
    p.n_threads = p.n_threads_batch = s.threads;
    p.kv_unified = is_unified;
    p.flash_attn_type = is_flash ? LLAMA_FLASH_ATTN_TYPE_ENABLED : LLAMA_FLASH_ATTN_TYPE_DISABLED;
    if (s.ctx) {
        llama_free(s.ctx);
    }
    s.ctx = llama_init_from_model(s.model, p);
    need(s.ctx != NULL, "llama_init_from_model");
    if (s.n_past > 0) {
        decode(0, s.n_past, 0);
    }
    printf("{\"n_ctx\": %u}\n", llama_n_ctx(s.ctx));
}

static void do_run(void)
{
    struct took took;
    forget_own();
    took = decode(s.n_past, s.n_own, 0);
    printf("{\"seconds\": %.9f, \"cpu\": %.9f}\n", took.seconds, took.cpu);
}

static void do_lp(void)
{
    int n_vocab = llama_vocab_n_tokens(llama_model_get_vocab(s.model));
    forget_own();
    decode(s.n_past, s.n_own, 1);
    printf("{\"lp\": [");
    for (int t = 0; t < s.n_texts; t++) {
        const float *z = llama_get_logits_ith(s.ctx, t * s.n_own + s.n_own - 1);
        double sum = 0;
        need(z != NULL, "logits");
        for (int i = 0; i < n_vocab; i++) {
            sum += exp((double)z[i]);
        }
        for (int i = 0; i < s.n_labels; i++) {
            printf("%s%.9g", t + i > 0 ? ", " : "", (double)z[s.labels[i]] - log(sum));
        }
    }
    printf("]}\n");
}

static void do_memory(void)
{
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    printf("{\"peak_bytes\": %.0f}\n", 1024.0 * (double)use.ru_maxrss);
}

static void quiet(enum ggml_log_level level, const char *text, void *ctx)
{
    (void)ctx;
    if (level == GGML_LOG_LEVEL_ERROR) {
        fputs(text, stderr);
    }
}

static int quantize(char **argv)
{
    struct llama_model_quantize_params p = llama_model_quantize_default_params();
    p.ftype = (enum llama_ftype)atoi(argv[4]);
    p.allow_requantize = 1;
    p.nthread = 2;
    return (int)llama_model_quantize(argv[2], argv[3], &p);
}

int main(int argc, char **argv)
{
    struct llama_model_params p = llama_model_default_params();
    char line[4096];
    char path[4000];
    int ubatch, unified, flash;
    llama_log_set(quiet, NULL);
    llama_backend_init();
    if (argc == 6 && strcmp(argv[1], "quantize") == 0) {
        if (strcmp(argv[5], "-") == 0) {
            ggml_backend_load_all();
        } else {
            ggml_backend_load_all_from_path(argv[5]);
        }
        return quantize(argv);
    }
    need(argc == 4, "usage: peer_llama MODEL.gguf THREADS BACKENDS|-");
    if (strcmp(argv[3], "-") != 0) {
        ggml_backend_load_all_from_path(argv[3]);
    }
    s.threads = atoi(argv[2]);
    s.model = llama_model_load_from_file(argv[1], p);
    need(s.model != NULL, argv[1]);
    printf("{\"versions\": \"%s\"}\n", llama_print_system_info());
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        if (sscanf(line, "open %3999s %d %d %d", path, &ubatch, &unified, &flash) == 4) {
            do_open(path, ubatch, unified, flash);
        } else if (strcmp(line, "run\n") == 0) {
            do_run();
        } else if (strcmp(line, "lp\n") == 0) {
            do_lp();
        } else if (strcmp(line, "memory\n") == 0) {
            do_memory();
        } else {
            need(0, line);
        }
        fflush(stdout);
    }
    return 0;
}
