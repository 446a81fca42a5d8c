#include "client/cli/bench/bench.h"
#include "client/cli/input.h"
#include "client/cli/render.h"
#include "client/cli/spec.h"
#include "common/file.h"
#include "common/json_write.h"
#include "common/mem.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* ---- faults of a plan ---- */

static void put_line(struct gdfo_cli *cli, const char *path, const char *detail)
{
    struct gdfo_buf text;
    struct gdfo_json_writer w;
    gdfo_buf_init(&text, 8192);
    w = gdfo_json_writer(&text);
    gdfo_json_open(&w, NULL, '{');
    gdfo_json_put_str(&w, "object", "bench.fault");
    gdfo_json_put_str(&w, "path", path);
    gdfo_json_put_str(&w, "detail", detail);
    gdfo_json_close(&w, '}');
    if (gdfo_buf_ok(&text)) {
        (void)fprintf(cli->out, "%s\n", text.data);
    }
    gdfo_buf_deinit(&text);
}

static void on_fault(void *ctx, const char *path, const char *detail)
{
    struct gdfo_cli *cli = ctx;
    char clean[GDFO_ERROR_TEXT_MAX];
    (void)snprintf(clean, sizeof clean, "%s", detail);
    gdfo_cli_clean(clean);
    (void)fprintf(cli->err, "  %s: %s\n", path, clean);
    if (cli->is_json) {
        put_line(cli, path, clean);
    }
}

/* ---- what a run begins with ---- */

static int read_plan(struct gdfo_bench *b, struct gdfo_bench_plan **plan)
{
    struct gdfo_cli *cli = b->cli;
    const char *path = cli->args.words[0];
    struct gdfo_error err = {0};
    struct gdfo_buf text;
    int code = 0;
    gdfo_buf_init(&text, GDFO_SPEC_MAX_BYTES);
    if (gdfo_input_read(path, &text, &err) != GDFO_STATUS_OK ||
        gdfo_bench_plan_parse(plan, text.data ? text.data : (char[1]){0}, text.len, path, on_fault,
                              cli, &err) != GDFO_STATUS_OK) {
        code = gdfo_cli_fail_as(cli, GDFO_EXIT_USAGE, "%s", err.text);
    }
    gdfo_buf_deinit(&text);
    b->plan = *plan;
    return code;
}

/* The data of every task, and with it the digest of every cell. */
static int read_data(struct gdfo_bench *b)
{
    struct gdfo_error err = {0};
    size_t n_faults = gdfo_bench_files_read(b, on_fault, b->cli);
    if (n_faults > 0) {
        return gdfo_cli_fail_as(b->cli, GDFO_EXIT_USAGE, "%s: %zu fault%s in the plan's files",
                                b->cli->args.words[0], n_faults, n_faults == 1 ? "" : "s");
    }
    b->digests = gdfo_mem_array(b->plan->n_cells, sizeof *b->digests);
    if (!b->digests) {
        return gdfo_cli_fail_as(b->cli, GDFO_EXIT_FAILED, "out of memory");
    }
    for (size_t i = 0; i < b->plan->n_cells; i++) {
        if (gdfo_bench_cell_digest(b, &b->plan->cells[i], b->digests[i], &err) != GDFO_STATUS_OK) {
            return gdfo_cli_fail_as(b->cli, GDFO_EXIT_USAGE, "%s", err.text);
        }
    }
    return 0;
}

static int read_results(struct gdfo_bench *b)
{
    char path[GDFO_BENCH_PATH_BYTES + 16];
    struct gdfo_error err = {0};
    (void)snprintf(path, sizeof path, "%s/results.json", b->folder);
    if (gdfo_bench_results_load(&b->results, path, &err) != GDFO_STATUS_OK) {
        return gdfo_cli_fail_as(b->cli, GDFO_EXIT_FAILED, "%s", err.text);
    }
    return 0;
}

/* One run a folder: a second one would submit the same cells. The lock goes with the process. */
static int lock_folder(struct gdfo_bench *b, int *fd)
{
    char path[GDFO_BENCH_PATH_BYTES + 16];
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    struct gdfo_error err = {0};
    (void)snprintf(path, sizeof path, "%s/predictions", b->folder);
    if (gdfo_file_mkdirs(path, &err) != GDFO_STATUS_OK) {
        return gdfo_cli_fail_as(b->cli, GDFO_EXIT_FAILED, "%s", err.text);
    }
    (void)snprintf(path, sizeof path, "%s/lock", b->folder);
    *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (*fd < 0 || fcntl(*fd, F_SETLK, &lock) != 0) {
        return gdfo_cli_fail_as(b->cli, GDFO_EXIT_CONFLICT,
                                "another gdfo bench is at work in %s, or it cannot be written",
                                b->folder);
    }
    return 0;
}

/* ---- --dry-run ---- */

static int is_on_file(const struct gdfo_bench *b, size_t cell)
{
    const struct gdfo_bench_result *row =
        gdfo_bench_results_find(&b->results, b->plan->cells[cell].key);
    return row && row->state >= GDFO_BENCH_STATE_DONE && strcmp(row->digest, b->digests[cell]) == 0;
}

static int print_cells(struct gdfo_bench *b)
{
    const struct gdfo_bench_plan *p = b->plan;
    FILE *out = b->cli->out;
    double calls = 0, queries = 0;
    size_t n_left = 0;
    for (size_t i = 0; i < p->n_cells; i++) {
        const struct gdfo_bench_cell *c = &p->cells[i];
        int is_done = is_on_file(b, i);
        double budget = (double)p->budgets[c->budget];
        n_left += !is_done;
        calls += is_done ? 0.0 : budget;
        queries += is_done ? 0.0 : budget * (double)b->data[c->task].n_train;
        (void)fprintf(out,
                      b->cli->is_json ? "{\"object\":\"bench.cell\",\"key\":\"%s\",\"calls\":"
                                        "%.0f,\"is_done\":%s}\n"
                                      : "%s\t%.0f calls%s\n",
                      c->key, budget,
                      b->cli->is_json ? (is_done ? "true" : "false") : (is_done ? "\tdone" : ""));
    }
    (void)fprintf(out,
                  b->cli->is_json ? "{\"object\":\"bench.sum\",\"n_cells\":%zu,\"n_left\":%zu,"
                                    "\"calls\":%.0f,\"queries\":%.0f}\n"
                                  : "%zu cells, %zu left to run: at most %.0f calls, %.0f "
                                    "queries; dev checks and test files come on top\n",
                  p->n_cells, n_left, calls, queries);
    return 0;
}

/* ---- the command ---- */

/* 9 when a cell failed or a variant could not be asked: the report says which and why. */
static int verdict(struct gdfo_bench *b)
{
    size_t n = 0;
    for (size_t i = 0; i < b->plan->n_cells; i++) {
        const struct gdfo_bench_result *row =
            gdfo_bench_results_find(&b->results, b->plan->cells[i].key);
        int is_bad = row && row->state == GDFO_BENCH_STATE_FAILED;
        for (size_t k = 0; row && k < row->n_scores; k++) {
            is_bad = is_bad || row->scores[k].why[0];
        }
        n += (size_t)is_bad;
    }
    if (n == 0) {
        return GDFO_EXIT_DONE;
    }
    return gdfo_cli_fail_as(
        b->cli, GDFO_EXIT_JOB_FAILED,
        "%zu cell%s failed; %s/report.md says why, --retry-failed runs %s again", n,
        n == 1 ? "" : "s", b->folder, n == 1 ? "it" : "them");
}

static int run_cells(struct gdfo_bench *b)
{
    int fd = -1, report_code, code = lock_folder(b, &fd);
    if (!code) {
        code = read_results(b);
        code = code ? code : gdfo_bench_run(b);
        report_code = gdfo_bench_report(b); /* also of what a broken run left */
        code = code ? code : report_code;
        code = code ? code : verdict(b);
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    return code;
}

static int run_plan(struct gdfo_bench *b)
{
    const struct gdfo_cli_args *args = &b->cli->args;
    const char *folder = gdfo_cli_args_get(args, "output");
    int code;
    if (snprintf(b->folder, sizeof b->folder, "%s", folder ? folder : b->plan->name) >=
        (int)sizeof b->folder) {
        return gdfo_cli_fail_as(b->cli, GDFO_EXIT_USAGE, "the folder's name is too long");
    }
    b->is_retry = gdfo_cli_args_get(args, "retry-failed") != NULL;
    if (gdfo_cli_args_get(args, "report")) {
        code = read_results(b);
        return code ? code : gdfo_bench_report(b);
    }
    code = read_data(b);
    if (!code && gdfo_cli_args_get(args, "dry-run")) {
        code = read_results(b);
        return code ? code : print_cells(b);
    }
    return code ? code : run_cells(b);
}

static int run(struct gdfo_cli *cli)
{
    struct gdfo_bench *b = gdfo_mem_array(1, sizeof *b);
    struct gdfo_bench_plan *plan = NULL;
    int code;
    if (!b) {
        return gdfo_cli_fail_as(cli, GDFO_EXIT_FAILED, "out of memory");
    }
    b->cli = cli;
    gdfo_bench_results_init(&b->results);
    code = read_plan(b, &plan);
    code = code ? code : run_plan(b);
    gdfo_bench_results_deinit(&b->results);
    gdfo_mem_free(b->digests);
    gdfo_mem_free(b->known);
    gdfo_bench_plan_destroy(plan);
    gdfo_mem_free(b);
    return code;
}

static const struct gdfo_cli_option options[] = {
    GDFO_CLI_JSON_OPTION,
    {"output", 'o', GDFO_CLI_VALUE, "DIR", "the folder to write (else one named like the plan)"},
    {"dry-run", 'n', GDFO_CLI_FLAG, NULL, "print the cells and what they may cost; run nothing"},
    {"report", 0, GDFO_CLI_FLAG, NULL, "write the report from what is there; run nothing"},
    {"retry-failed", 0, GDFO_CLI_FLAG, NULL, "run failed cells again"},
    {0}};

const struct gdfo_cli_command gdfo_cmd_bench = {
    .words = "bench",
    .usage = "PLAN [-o DIR] [--dry-run | --report] [--retry-failed]",
    .min_words = 1,
    .max_words = 1,
    .options = options,
    .help = "compare methods on tasks over seeds and budgets; a report with plots",
    .about =
        "PLAN is JSON (// comments allowed): name, model (or models), tasks (name, train, dev,\n"
        "test: JSONL beside the plan; task: template, cue, verbalizer), methods (name, type,\n"
        "hyperparameters, options, task, variants, tasks, budgets), seeds, budgets in calls,\n"
        "also ([{methods, tasks, budgets}]), reference, baselines, concurrency, test_rows.\n"
        "One cell is one job. Run the same command again after any interruption: what the\n"
        "daemon, DIR/results.json or DIR/predictions have is not asked twice. DIR gets\n"
        "report.html, report.md, results.csv and differences.csv. A failed cell stands in the\n"
        "report with its reason: exit 9.",
    .run = run,
};
