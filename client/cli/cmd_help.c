#include "client/cli/cli.h"
#include "common/json_write.h"

#include <string.h>

static void print_exit_codes(struct gdfo_cli *cli)
{
    for (int code = 0; code <= GDFO_EXIT_INTERRUPTED; code++) {
        if (gdfo_exit_meaning(code)) {
            (void)fprintf(cli->out, "%3d  %s\n", code, gdfo_exit_meaning(code));
        }
    }
}

static void print_exit_codes_json(struct gdfo_cli *cli)
{
    struct gdfo_buf b;
    struct gdfo_json_writer w;
    gdfo_buf_init(&b, 4096);
    w = gdfo_json_writer(&b);
    gdfo_json_open(&w, NULL, '{');
    for (int code = 0; code <= GDFO_EXIT_INTERRUPTED; code++) {
        if (gdfo_exit_name(code)) {
            gdfo_json_put_int(&w, gdfo_exit_name(code), code);
        }
    }
    gdfo_json_close(&w, '}');
    (void)fprintf(cli->out, "%s\n", gdfo_buf_ok(&b) ? b.data : "{}");
    gdfo_buf_deinit(&b);
}

static void print_commands(struct gdfo_cli *cli)
{
    const struct gdfo_cli_command *const *all = gdfo_cli_commands();
    (void)fprintf(cli->out, "usage: gdfo COMMAND ...    (gdfo COMMAND --help says more)\n\n");
    for (size_t i = 0; all[i]; i++) {
        (void)fprintf(cli->out, "  %-12s  %s\n", all[i]->words, all[i]->help);
    }
    (void)fprintf(cli->out,
                  "\nThe daemon is found by --url, else GDFO_URL, else %s; a token comes from\n"
                  "GDFO_TOKEN. Every command takes --json. Exit codes: gdfo help exit-codes\n",
                  GDFO_CLIENT_URL);
}

static int print_commands_json(struct gdfo_cli *cli)
{
    const struct gdfo_cli_command *const *all = gdfo_cli_commands();
    struct gdfo_buf b;
    struct gdfo_json_writer w;
    gdfo_buf_init(&b, (size_t)64 << 10);
    w = gdfo_json_writer(&b);
    gdfo_json_open(&w, NULL, '{');
    for (size_t i = 0; all[i]; i++) {
        gdfo_json_put_str(&w, all[i]->words, all[i]->help);
    }
    gdfo_json_close(&w, '}');
    (void)fprintf(cli->out, "%s\n", gdfo_buf_ok(&b) ? b.data : "{}");
    gdfo_buf_deinit(&b);
    return GDFO_EXIT_DONE;
}

/* gdfo help job run = gdfo job run --help */
static int help_of(struct gdfo_cli *cli)
{
    char words[3][40];
    char flag[] = "--help";
    char *argv[3];
    size_t n = cli->args.n_words;
    struct gdfo_cli inner = *cli;
    for (size_t i = 0; i < n; i++) {
        (void)snprintf(words[i], sizeof words[i], "%s", cli->args.words[i]);
        argv[i] = words[i];
    }
    argv[n] = flag;
    return gdfo_cli_dispatch(&inner, (int)n + 1, argv);
}

static int run(struct gdfo_cli *cli)
{
    if (cli->args.n_words == 1 && strcmp(cli->args.words[0], "exit-codes") == 0) {
        if (cli->is_json) {
            print_exit_codes_json(cli);
        } else {
            print_exit_codes(cli);
        }
        return GDFO_EXIT_DONE;
    }
    if (cli->args.n_words > 0) {
        return help_of(cli);
    }
    if (cli->is_json) {
        return print_commands_json(cli);
    }
    print_commands(cli);
    return GDFO_EXIT_DONE;
}

static const struct gdfo_cli_option options[] = {GDFO_CLI_JSON_OPTION, {0}};

const struct gdfo_cli_command gdfo_cmd_help = {
    .words = "help",
    .usage = "[exit-codes | COMMAND...]",
    .min_words = 0,
    .max_words = 2,
    .is_local = 1,
    .options = options,
    .help = "this list; exit-codes: what they mean",
    .run = run,
};
