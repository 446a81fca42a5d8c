#include "client/cli/act.h"

#include "client/cli/render.h"

static int act(struct gdfo_cli *cli, const char *id, const char *action)
{
    struct gdfo_error err = {0};
    struct gdfo_json *job = NULL;
    int code = gdfo_cli_check_json(
        cli, gdfo_client_job_act(cli->client, id, action, &cli->reply, &err), &job, &err);
    if (code) {
        return code;
    }
    if (cli->is_json) {
        code = gdfo_cli_print_json(cli, job);
    } else {
        char status[GDFO_CLI_CELL_BYTES];
        gdfo_cli_cell(gdfo_cli_at(job, "status"), GDFO_CLI_TEXT, status);
        (void)fprintf(cli->out, "%s\t%s\n", id, status);
    }
    gdfo_json_destroy(job);
    return code;
}

int gdfo_act_all(struct gdfo_cli *cli, const char *action)
{
    int code = 0;
    for (size_t i = 0; i < cli->args.n_words && !code; i++) {
        code = act(cli, cli->args.words[i], action);
    }
    return code;
}
