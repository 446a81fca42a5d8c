#include "client/cli/follow.h"
#include "client/cli/render.h"
#include "client/cli/view.h"
#include "common/clk.h"

#include <math.h>
#include <string.h>
#include <sys/ioctl.h>

#define LIVE_PERIOD_MS  300 /* at most 4 redraws a second, with room for the requests */
#define PLAIN_PERIOD_MS 500
#define METRICS_MS      1000
#define PATIENCE_MS     (10 * 60 * 1000)
#define HISTORY         10
#define WIDTH_DEFAULT   80
#define NOTE_BYTES      160

/* One watcher: how it shows, and what it needs to know between two polls. */
struct watch {
    struct gdfo_cli *cli;
    int is_live;
    int n_drawn; /* lines of the live view on the screen */
    int64_t metrics_ms;
    double created_at;
    const char *unit;  /* what the budget counts: "evals" or "queries" */
    double cap, eta_s; /* as of the last poll; NAN: unknown */
    struct gdfo_view view;
    char note[NOTE_BYTES];
    char last_line[512]; /* plain mode: what the job's line said, to say it once */
    char reason[64];
    char model[192]; /* fine_tuned_model */
    char error[256];
};

static int64_t now_ms(void)
{
    return gdfo_clk_monotonic_ms(gdfo_clk_system());
}

/* ---- events as lines ---- */

/* "evals 22 of 60", as far as the job has said. */
static void add_spent(const struct watch *w, const struct gdfo_json *data, struct gdfo_buf *b)
{
    char left[GDFO_CLI_CELL_BYTES];
    double used = gdfo_cli_number_at(data, w->unit);
    if (isfinite(used)) {
        gdfo_buf_addf(b, "  %s %.0f", w->unit, used);
    }
    if (isfinite(used) && isfinite(w->cap)) {
        gdfo_buf_addf(b, " of %.0f", w->cap);
    }
    if (w->eta_s > 0.0) {
        gdfo_cli_seconds(w->eta_s, left);
        gdfo_buf_addf(b, "  %s left", left);
    }
}

/* What a person follows a job by; --json and `job metrics` have the rest. */
static void add_members(const struct watch *w, const struct gdfo_json *data, struct gdfo_buf *b)
{
    static const char *const shown[] = {"loss_train",    "loss_student", "loss_dev",
                                        "loss_dev_best", "accuracy_dev", "macro_f1_dev"};
    double step = gdfo_cli_number_at(data, "step");
    if (isfinite(step)) {
        gdfo_buf_addf(b, "  step %.0f", step);
    }
    add_spent(w, data, b);
    for (size_t i = 0; i < sizeof shown / sizeof shown[0]; i++) {
        double v = gdfo_cli_number_at(data, shown[i]);
        if (isfinite(v)) {
            gdfo_buf_addf(b, "  %s %.4g", shown[i], v);
        }
    }
}

/* "metrics  step 3  evals 22 of 60  loss_dev 0.51", "status  queued -> running", or the message. */
static void event_words(const struct watch *w, const struct gdfo_json *e, char *out, size_t size)
{
    const char *type = gdfo_cli_text_at(e, "type");
    const char *message = gdfo_cli_text_at(e, "message");
    const struct gdfo_json *data = gdfo_cli_at(e, "data");
    struct gdfo_buf b;
    gdfo_buf_init(&b, 4096);
    gdfo_buf_add(&b, type ? type : "event");
    if (type && strcmp(type, "metrics") == 0 && data) {
        add_members(w, data, &b);
    } else if (gdfo_cli_text_at(e, "data.from") && gdfo_cli_text_at(e, "data.to")) {
        const char *reason = gdfo_cli_text_at(e, "data.reason");
        gdfo_buf_addf(&b, "  %s -> %s", gdfo_cli_text_at(e, "data.from"),
                      gdfo_cli_text_at(e, "data.to"));
        if (reason) {
            gdfo_buf_addf(&b, " (%s)", reason);
        }
    } else if (message) {
        gdfo_buf_addf(&b, "  %s", message);
    }
    (void)snprintf(out, size, "%s", gdfo_buf_ok(&b) && b.data ? b.data : "event");
    gdfo_cli_clean(out);
    gdfo_buf_deinit(&b);
}

static void on_event(void *ctx, const struct gdfo_json *event)
{
    struct watch *w = ctx;
    char words[512], at[GDFO_CLI_CELL_BYTES];
    const char *level = gdfo_cli_text_at(event, "level");
    if (w->cli->is_json) {
        (void)gdfo_cli_print_json(w->cli, event);
        return;
    }
    event_words(w, event, words, sizeof words);
    if (w->is_live) {
        (void)snprintf(w->note, sizeof w->note, "%.150s", words);
        return;
    }
    if (isnan(w->created_at)) {
        w->created_at = gdfo_cli_number_at(event, "created_at");
    }
    gdfo_cli_seconds(gdfo_cli_number_at(event, "created_at") - w->created_at, at);
    (void)fprintf(w->cli->out, "+%s  %s%s\n", at, level && strcmp(level, "info") != 0 ? "! " : "",
                  words);
    (void)fflush(w->cli->out);
}

/* ---- the live view ---- */

static int terminal_width(const struct gdfo_cli *cli)
{
    struct winsize size = {0};
    if (ioctl(fileno(cli->out), TIOCGWINSZ, &size) == 0 && size.ws_col >= 20) {
        return size.ws_col - 1;
    }
    return WIDTH_DEFAULT;
}

static void fetch_metrics(struct watch *w, const char *id)
{
    struct gdfo_error err = {0};
    struct gdfo_json *metrics = NULL;
    struct gdfo_cli *cli = w->cli;
    if (w->metrics_ms && now_ms() - w->metrics_ms < METRICS_MS) {
        return;
    }
    w->metrics_ms = now_ms();
    if (gdfo_client_job_metrics(cli->client, id, NULL, GDFO_VIEW_POINTS, &cli->reply, &err) ==
            GDFO_STATUS_OK &&
        cli->reply.http == 200 && gdfo_reply_json(&cli->reply, &metrics, &err) == GDFO_STATUS_OK) {
        gdfo_view_take_metrics(&w->view, metrics);
    }
    gdfo_json_destroy(metrics);
}

static double elapsed_of(const struct gdfo_json *job)
{
    double from = gdfo_cli_number_at(job, "started_at");
    double to = gdfo_cli_number_at(job, "finished_at");
    if (isnan(from)) {
        from = gdfo_cli_number_at(job, "created_at");
    }
    if (isnan(to)) {
        to = (double)gdfo_clk_wall_ms(gdfo_clk_system()) / 1000.0;
    }
    return to > from ? to - from : 0.0;
}

static void erase(struct watch *w)
{
    if (w->n_drawn > 0) {
        (void)fprintf(w->cli->out, "\033[%dA\r\033[J", w->n_drawn);
    }
    w->n_drawn = 0;
}

static void draw(struct watch *w, const struct gdfo_json *job)
{
    struct gdfo_buf b;
    int n;
    const char *id = gdfo_cli_text_at(job, "id");
    if (id && gdfo_client_is_id(id)) {
        fetch_metrics(w, id);
    }
    w->view.elapsed_s = elapsed_of(job);
    w->view.width = terminal_width(w->cli);
    w->view.note = w->note;
    w->view.has_color = w->cli->has_color;
    gdfo_buf_init(&b, (size_t)64 << 10);
    n = gdfo_view_render(&w->view, &b);
    erase(w);
    if (gdfo_buf_ok(&b)) {
        (void)fputs(b.data, w->cli->out);
        w->n_drawn = n;
    }
    (void)fflush(w->cli->out);
    gdfo_buf_deinit(&b);
}

/* ---- the job as it goes ---- */

static void keep(char *out, size_t size, const char *text)
{
    (void)snprintf(out, size, "%s", text ? text : "");
    gdfo_cli_clean(out);
}

/* Plain mode: a line when status or reason changed and no event said so. */
static void plain_job(struct watch *w, const struct gdfo_json *job)
{
    char line[sizeof w->last_line];
    const char *status = gdfo_cli_text_at(job, "status");
    const char *id = gdfo_cli_text_at(job, "id");
    if (w->last_line[0]) {
        return;
    }
    (void)snprintf(line, sizeof line, "%.60s is %.30s", id ? id : "?", status ? status : "?");
    (void)fprintf(w->cli->out, "%s\n", line);
    (void)fflush(w->cli->out);
    memcpy(w->last_line, line, sizeof line);
}

static void on_job(void *ctx, const struct gdfo_json *job)
{
    struct watch *w = ctx;
    const char *status = gdfo_cli_text_at(job, "status");
    w->created_at = gdfo_cli_number_at(job, "created_at");
    gdfo_view_take_job(&w->view, job);
    w->unit = w->view.unit;
    w->cap = w->view.cap;
    w->eta_s = w->view.eta_s;
    keep(w->reason, sizeof w->reason, gdfo_cli_text_at(job, "reason"));
    keep(w->model, sizeof w->model, gdfo_cli_text_at(job, "fine_tuned_model"));
    keep(w->error, sizeof w->error, gdfo_cli_text_at(job, "error.message"));
    if (w->cli->is_json) {
        if (status && gdfo_follow_exit_of(status) >= 0) {
            (void)gdfo_cli_print_json(w->cli, job);
        }
    } else if (w->is_live) {
        draw(w, job);
    } else {
        plain_job(w, job);
    }
}

static void on_lost(void *ctx, const char *words)
{
    struct watch *w = ctx;
    if (w->is_live) {
        if (words) {
            (void)fprintf(w->cli->out, "connection lost, trying again: the job is safe\n");
            w->n_drawn++;
        }
        (void)fflush(w->cli->out);
    } else if (words) {
        (void)fprintf(w->cli->err, "connection lost (%s); trying again\n", words);
    } else {
        (void)fprintf(w->cli->err, "connected again\n");
    }
}

/* ---- the end ---- */

static int tell_end(struct watch *w, const char *id, const char *status, int code)
{
    struct gdfo_cli *cli = w->cli;
    if (code == GDFO_EXIT_INTERRUPTED) {
        (void)fprintf(cli->err,
                      "\n%s goes on without this watcher (it was %s).\n"
                      "  watch it again: gdfo watch %s\n  stop it:        gdfo job cancel %s\n",
                      id, status, id, id);
    } else if (code == GDFO_EXIT_DONE) {
        (void)fprintf(
            cli->err,
            "%s %s%s%s%s; model %s\n  next: gdfo predict %s FILE, or gdfo result %s -o DIR\n", id,
            status, w->reason[0] ? " (" : "", w->reason, w->reason[0] ? ")" : "",
            w->model[0] ? w->model : "-", w->model[0] ? w->model : id, id);
    } else if (code == GDFO_EXIT_JOB_FAILED || code == GDFO_EXIT_JOB_CANCELLED) {
        (void)fprintf(cli->err, "gdfo: %s %s%s%s%s%s\n  next: %s\n", id, status,
                      w->reason[0] ? ": " : "", w->reason, w->error[0] ? ": " : "", w->error,
                      gdfo_exit_next_step(NULL, code));
    }
    return code;
}

int gdfo_watch(struct gdfo_cli *cli, const char *id, int64_t after_seq)
{
    struct watch w = {.cli = cli,
                      .created_at = (double)NAN,
                      .unit = "evals",
                      .cap = (double)NAN,
                      .eta_s = (double)NAN};
    struct gdfo_follow f = {.cli = cli,
                            .id = id,
                            .after_seq = after_seq,
                            .patience_ms = PATIENCE_MS,
                            .wants_events = 1,
                            .ctx = &w,
                            .on_event = on_event,
                            .on_job = on_job,
                            .on_lost = on_lost};
    char status[32] = "?";
    int code;
    w.is_live = cli->is_tty_out && !cli->is_dumb && !cli->is_json;
    w.view.is_ascii = cli->is_dumb;
    w.view.loss_name = "loss_dev";
    w.view.loss_best = w.view.loss_last = w.view.accuracy_last = (double)NAN;
    f.period_ms = w.is_live ? LIVE_PERIOD_MS : PLAIN_PERIOD_MS;
    if (after_seq < 0) {
        code = gdfo_follow_rewind(&f, HISTORY);
        if (code) {
            return code;
        }
    }
    code = gdfo_follow_run(&f, status);
    return tell_end(&w, id, status, code);
}
