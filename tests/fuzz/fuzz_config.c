/* Any bytes as a configuration file: every fault is told, and what was read stays in its ranges. */
#include "common/check.h"
#include "common/mem.h"
#include "server/config.h"
#include "server/config_show.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

static void check_values(const struct gdfo_config *c)
{
    GDFO_CHECK(c->http_port >= 0 && c->http_port <= 65535);
    GDFO_CHECK(c->http_threads >= 1 && c->http_threads <= 64);
    GDFO_CHECK(c->sched_workers >= 1 && c->sched_workers <= 256);
    GDFO_CHECK(c->compute_threads >= 0 && c->compute_threads <= 256);
    GDFO_CHECK(c->stop_seconds >= 0 && c->stop_seconds <= 3600);
    GDFO_CHECK(c->ballast_mib >= 0 && c->ballast_mib <= 4096);
    GDFO_CHECK(c->log_level >= 0 && c->log_level <= 4 && c->log_format >= 0 && c->log_format <= 1);
    GDFO_CHECK(memchr(c->data_dir, '\0', sizeof c->data_dir) != NULL);
    GDFO_CHECK(c->n_teachers <= GDFO_CONFIG_SECTIONS_MAX);
    GDFO_CHECK(c->n_students <= GDFO_CONFIG_SECTIONS_MAX);
    for (size_t i = 0; i < c->n_teachers; i++) {
        GDFO_CHECK(c->teachers[i].name[0] != '\0');
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct gdfo_config *c = gdfo_config_create();
    struct gdfo_config_faults faults;
    struct gdfo_buf shown;
    GDFO_CHECK(c != NULL);
    gdfo_config_faults_init(&faults);
    gdfo_buf_init(&shown, (size_t)1 << 20);
    gdfo_config_read_text(c, (const char *)data, n, "fuzz", &faults);
    GDFO_CHECK((faults.n == 0) == (faults.text.len == 0));
    check_values(c);
    gdfo_config_show_values(c, &shown);
    GDFO_CHECK(gdfo_buf_ok(&shown));
    gdfo_buf_deinit(&shown);
    gdfo_buf_deinit(&faults.text);
    gdfo_mem_free(c);
    return 0;
}
