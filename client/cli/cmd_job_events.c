#include "client/cli/follow.h"
#include "client/cli/render.h"
#include "common/parse.h"

#define PERIOD_MS   500
#define PATIENCE_MS (10 * 60 * 1000)
#define PAGE        100

static void on_event(void *ctx, const struct gdfo_json *event)
{
    static const struct gdfo_cli_column columns[] = {
        {"SEQ", "seq", GDFO_CLI_COUNT},        {"CREATED", "created_at", GDFO_CLI_COUNT},
        {"LEVEL", "level", GDFO_CLI_TEXT},     {"TYPE", "type", GDFO_CLI_TEXT},
        {"MESSAGE", "message", GDFO_CLI_TEXT}, {0}};
    struct gdfo_cli *cli = ctx;
    if (cli->is_json) {
        (void)gdfo_cli_print_json(cli, event);
        return;
    }
    for (const struct gdfo_cli_column *c = columns; c->title; c++) {
        char cell[GDFO_CLI_CELL_BYTES];
        gdfo_cli_cell(gdfo_cli_at(event, c->path), c->format, cell);
        (void)fprintf(cli->out, "%s%c", cell, c[1].title ? '\t' : '\n');
    }
    (void)fflush(cli->out);
}

/* Every page there is now. */
static int print_all(struct gdfo_cli *cli, const char *id, int64_t after)
{
    int more = 1;
    while (more) {
        struct gdfo_error err = {0};
        struct gdfo_json *list = NULL;
        const struct gdfo_json *rows;
        int64_t before = after;
        int code = gdfo_cli_check_json(
            cli, gdfo_client_job_events(cli->client, id, after, &cli->reply, &err), &list, &err);
        if (code) {
            return code;
        }
        rows = gdfo_cli_at(list, "data");
        for (const struct gdfo_json *e = rows ? gdfo_json_first(rows) : NULL; e;
             e = gdfo_json_next(e)) {
            const struct gdfo_json *seq = gdfo_cli_at(e, "seq");
            on_event(cli, e);
            if (seq) {
                (void)gdfo_json_int(seq, &after);
            }
        }
        more = rows && gdfo_json_size(rows) >= PAGE && after > before;
        gdfo_json_destroy(list);
    }
    return 0;
}

static int follow(struct gdfo_cli *cli, const char *id, int64_t after)
{
    struct gdfo_follow f = {.cli = cli,
                            .id = id,
                            .after_seq = after,
                            .period_ms = PERIOD_MS,
                            .patience_ms = PATIENCE_MS,
                            .wants_events = 1,
                            .ctx = cli,
                            .on_event = on_event};
    char status[32] = "?";
    int code = gdfo_follow_run(&f, status);
    if (code == GDFO_EXIT_INTERRUPTED) {
        (void)fprintf(cli->err, "\n%s goes on; continue with --after %lld\n", id,
                      (long long)f.after_seq);
    }
    return code == GDFO_EXIT_JOB_FAILED || code == GDFO_EXIT_JOB_CANCELLED ? 0 : code;
}

static int run(struct gdfo_cli *cli)
{
    const char *after = gdfo_cli_args_get(&cli->args, "after");
    int64_t seq = 0;
    if (after && !gdfo_parse_i64(after, 0, INT64_MAX, &seq)) {
        return gdfo_cli_fail_as(cli, GDFO_EXIT_USAGE,
                                "--after is \"%.30s\"; want the seq of an event", after);
    }
    return gdfo_cli_args_get(&cli->args, "follow") ? follow(cli, cli->args.words[0], seq)
                                                   : print_all(cli, cli->args.words[0], seq);
}

static const struct gdfo_cli_option options[] = {
    GDFO_CLI_JSON_OPTION,
    {"follow", 'f', GDFO_CLI_FLAG, NULL, "go on until the job ends"},
    {"after", 0, GDFO_CLI_VALUE, "SEQ", "only what came after this event"},
    {0}};

const struct gdfo_cli_command gdfo_cmd_job_events = {
    .words = "job events",
    .usage = "ID [-f] [--after SEQ]",
    .min_words = 1,
    .max_words = 1,
    .options = options,
    .help = "the history of a job, oldest first",
    .about = "With --json one event a line.",
    .run = run,
};
