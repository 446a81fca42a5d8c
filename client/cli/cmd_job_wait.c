#include "client/cli/follow.h"
#include "client/cli/render.h"
#include "common/clk.h"

#include <string.h>

#define PERIOD_MS   500
#define PATIENCE_MS (10 * 60 * 1000)

struct waiting {
    struct gdfo_cli *cli;
    const char *until;
};

static void on_job(void *ctx, const struct gdfo_json *job)
{
    struct waiting *w = ctx;
    const char *status = gdfo_cli_text_at(job, "status");
    const char *id = gdfo_cli_text_at(job, "id");
    if (!status ||
        (gdfo_follow_exit_of(status) < 0 && !(w->until && strcmp(w->until, status) == 0))) {
        return;
    }
    if (w->cli->is_json) {
        (void)gdfo_cli_print_json(w->cli, job);
    } else {
        (void)fprintf(w->cli->out, "%s\t%s\n", id ? id : "?", status);
    }
}

static void on_lost(void *ctx, const char *words)
{
    struct waiting *w = ctx;
    (void)fprintf(w->cli->err, words ? "connection lost (%s); trying again\n" : "connected again\n",
                  words);
}

static int wait_one(struct waiting *w, const char *id, int64_t timeout_ms)
{
    struct gdfo_follow f = {.cli = w->cli,
                            .id = id,
                            .until = w->until,
                            .period_ms = PERIOD_MS,
                            .timeout_ms = timeout_ms,
                            .patience_ms = PATIENCE_MS,
                            .ctx = w,
                            .on_job = on_job,
                            .on_lost = on_lost};
    char status[32] = "?";
    int code = gdfo_follow_run(&f, status);
    if (code == GDFO_EXIT_JOB_FAILED || code == GDFO_EXIT_JOB_CANCELLED) {
        (void)fprintf(w->cli->err, "gdfo: %s %s\n  next: %s\n", id, status,
                      gdfo_exit_next_step(NULL, code));
    } else if (code == GDFO_EXIT_INTERRUPTED) {
        (void)fprintf(w->cli->err, "\n%s goes on (it was %s): gdfo watch %s\n", id, status, id);
    }
    return code;
}

/* A status that no job can have would be waited for until the job's end. */
static int is_status(const char *s)
{
    static const char *const all[] = {"validating_files", "queued", "running",
                                      "pausing",          "paused", "cancelling",
                                      "succeeded",        "failed", "cancelled"};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        if (strcmp(all[i], s) == 0) {
            return 1;
        }
    }
    return 0;
}

static int run(struct gdfo_cli *cli)
{
    const char *timeout = gdfo_cli_args_get(&cli->args, "timeout");
    struct waiting w = {cli, gdfo_cli_args_get(&cli->args, "for")};
    int64_t deadline_ms = 0, started = gdfo_clk_monotonic_ms(gdfo_clk_system());
    int code = 0, worst = 0;
    if (timeout && (!gdfo_cli_duration_ms(timeout, &deadline_ms) || deadline_ms == 0)) {
        return gdfo_cli_fail_as(cli, GDFO_EXIT_USAGE,
                                "--timeout is \"%.20s\"; want the like of 30s", timeout);
    }
    if (w.until && !is_status(w.until)) {
        return gdfo_cli_fail_as(cli, GDFO_EXIT_USAGE,
                                "--for is \"%.30s\"; want a job's status, as paused or succeeded",
                                w.until);
    }
    for (size_t i = 0; i < cli->args.n_words; i++) {
        int64_t left = deadline_ms - (gdfo_clk_monotonic_ms(gdfo_clk_system()) - started);
        code = wait_one(&w, cli->args.words[i], timeout ? (left > 1 ? left : 1) : 0);
        if (code && code != GDFO_EXIT_JOB_FAILED && code != GDFO_EXIT_JOB_CANCELLED) {
            return code;
        }
        worst = worst ? worst : code;
    }
    return worst;
}

static const struct gdfo_cli_option options[] = {
    GDFO_CLI_JSON_OPTION,
    {"for", 0, GDFO_CLI_VALUE, "STATUS", "stop at this status too"},
    {"timeout", 0, GDFO_CLI_VALUE, "D", "give up after 90, 90s, 5m or 2h: exit 11"},
    {0}};

const struct gdfo_cli_command gdfo_cmd_job_wait = {
    .words = "job wait",
    .usage = "ID... [--for STATUS] [--timeout D]",
    .min_words = 1,
    .max_words = GDFO_CLI_ARGS_MAX,
    .options = options,
    .help = "wait until jobs end (or reach a status); the exit code says how",
    .run = run,
};
