#include "client/cli/render.h"

#include <string.h>

#define POINTS 200

/* name, x, y: one line a point, a block a series. */
static void print_series(struct gdfo_cli *cli, const struct gdfo_json *series)
{
    const struct gdfo_json *xs = gdfo_cli_at(series, "x"), *ys = gdfo_cli_at(series, "y");
    const struct gdfo_json *x = xs ? gdfo_json_first(xs) : NULL;
    const struct gdfo_json *y = ys ? gdfo_json_first(ys) : NULL;
    for (; x && y; x = gdfo_json_next(x), y = gdfo_json_next(y)) {
        char at[GDFO_CLI_CELL_BYTES], value[GDFO_CLI_CELL_BYTES];
        gdfo_cli_cell(x, GDFO_CLI_COUNT, at);
        gdfo_cli_cell(y, GDFO_CLI_NUMBER, value);
        (void)fprintf(cli->out, "%s\t%s\t%s\n", gdfo_json_key(series), at, value);
    }
}

static int print_table(struct gdfo_cli *cli, struct gdfo_json *metrics)
{
    const struct gdfo_json *all = gdfo_cli_at(metrics, "series");
    if (!all || gdfo_json_size(all) == 0) {
        (void)fprintf(cli->err, "no metrics yet\n");
        return 0;
    }
    for (const struct gdfo_json *s = gdfo_json_first(all); s; s = gdfo_json_next(s)) {
        print_series(cli, s);
    }
    return 0;
}

static int print_csv(struct gdfo_cli *cli, const char *id)
{
    struct gdfo_error err = {0};
    char path[160];
    (void)snprintf(path, sizeof path, "/v1/fine_tuning/jobs/%.70s/metrics?format=csv", id);
    return gdfo_cli_check(cli,
                          gdfo_client_send(cli->client,
                                           &(struct gdfo_request){.method = "GET",
                                                                  .path = path,
                                                                  .has_sink = 1,
                                                                  .sink_fd = fileno(cli->out)},
                                           &cli->reply, &err),
                          &err);
}

static int run(struct gdfo_cli *cli)
{
    struct gdfo_error err = {0};
    struct gdfo_json *metrics = NULL;
    const char *id = cli->args.words[0];
    const char *names = gdfo_cli_args_get(&cli->args, "names");
    int code;
    if (names && strspn(names, "abcdefghijklmnopqrstuvwxyz0123456789_,") != strlen(names)) {
        return gdfo_cli_fail_as(cli, GDFO_EXIT_USAGE, "--names is \"%.60s\"; want a,b,c", names);
    }
    if (gdfo_cli_args_get(&cli->args, "csv")) {
        return !gdfo_client_is_id(id) || cli->is_json
                   ? gdfo_cli_fail_as(cli, GDFO_EXIT_USAGE, "--csv wants a job id and no --json")
                   : print_csv(cli, id);
    }
    code = gdfo_cli_check_json(
        cli, gdfo_client_job_metrics(cli->client, id, names, POINTS, &cli->reply, &err), &metrics,
        &err);
    if (!code) {
        code = cli->is_json ? gdfo_cli_print_json(cli, metrics) : print_table(cli, metrics);
    }
    gdfo_json_destroy(metrics);
    return code;
}

static const struct gdfo_cli_option options[] = {
    GDFO_CLI_JSON_OPTION,
    {"names", 0, GDFO_CLI_VALUE, "A,B", "only these: loss_dev,accuracy_dev"},
    {"csv", 0, GDFO_CLI_FLAG, NULL, "every point, as CSV"},
    {0}};

const struct gdfo_cli_command gdfo_cmd_job_metrics = {
    .words = "job metrics",
    .usage = "ID [--names A,B] [--csv]",
    .min_words = 1,
    .max_words = 1,
    .options = options,
    .help = "the curves of a job",
    .run = run,
};
