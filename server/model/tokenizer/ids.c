#include "common/mem.h"
#include "server/model/tokenizer/tokenizer.h"

void gdfo_ids_deinit(struct gdfo_ids *ids)
{
    gdfo_mem_free(ids->data);
    ids->data = NULL;
    ids->n = 0;
    ids->cap = 0;
}
