#include "server/prompt/format/format_priv.h"

/* A quoted string, or null. */
static void put_text(struct gdfo_buf *out, const char *text)
{
    struct gdfo_json_writer w = gdfo_json_writer(out);
    gdfo_json_put_str(&w, NULL, text);
}

/* Keys sorted, two blanks of indent: the bytes that PEFT itself writes. */
static void put_config(const struct gdfo_prompt *p, const struct gdfo_prompt_peft *peft,
                       struct gdfo_buf *out)
{
    gdfo_buf_add(out, "{\n  \"auto_mapping\": null,\n  \"base_model_name_or_path\": ");
    put_text(out, peft->base_model);
    gdfo_buf_add(out, ",\n  \"inference_mode\": true,\n  \"modules_to_save\": null,\n");
    gdfo_buf_addf(out, "  \"num_attention_heads\": %zu,\n  \"num_layers\": %zu,\n", peft->n_heads,
                  peft->n_layers);
    gdfo_buf_addf(out, "  \"num_transformer_submodules\": 1,\n  \"num_virtual_tokens\": %zu,\n",
                  p->n_prompt_tokens);
    gdfo_buf_add(out, "  \"peft_type\": \"PROMPT_TUNING\",\n  \"prompt_tuning_init\": \"RANDOM\",\n"
                      "  \"prompt_tuning_init_text\": null,\n  \"revision\": null,\n"
                      "  \"task_type\": \"CAUSAL_LM\",\n");
    gdfo_buf_addf(out, "  \"token_dim\": %zu,\n", p->d_model);
    gdfo_buf_add(out, "  \"tokenizer_kwargs\": null,\n  \"tokenizer_name_or_path\": null\n}\n");
}

enum gdfo_status gdfo_prompt_write_peft(const struct gdfo_prompt *p,
                                        const struct gdfo_prompt_peft *peft,
                                        struct gdfo_buf *adapter_model,
                                        struct gdfo_buf *adapter_config, struct gdfo_error *err)
{
    enum gdfo_status status = gdfo_prompt_check(p, err);
    if (status == GDFO_STATUS_OK) {
        status = gdfo_prompt_check_shallow(p, "PEFT", err);
    }
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    if (p->position == GDFO_PROMPT_POSITION_SUFFIX) {
        return gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED,
                              "PEFT puts prompt rows before the text; this prompt is a suffix");
    }
    if (p->bos_before_soft) {
        return gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED,
                              "PEFT puts prompt rows before BOS; this prompt stands behind it");
    }
    gdfo_prompt_put_safetensors(p, 0, adapter_model);
    put_config(p, peft, adapter_config);
    return gdfo_buf_ok(adapter_model) && gdfo_buf_ok(adapter_config)
               ? GDFO_STATUS_OK
               : gdfo_error_no_memory(err, "a PEFT folder");
}
