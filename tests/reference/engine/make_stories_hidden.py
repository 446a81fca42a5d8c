#!/usr/bin/env python3
"""make_stories_hidden.py FOLDER > stories-hidden.json      FOLDER: shared/models/stories260K

The last hidden state, after the final norm, that PyTorch and transformers have behind two short texts
on the stories model. tests/unit/teacher/test_hidden.c holds the embedded teacher's against these. Ids
are the tokenizer's, written out: shared/vectors/stories260K-logits.json has the same.
Needs: pip install torch transformers
"""
import json
import platform
import sys

import torch
import transformers
from safetensors.torch import load_file

TEXTS = {                                           # body, cue: ids of both behind <s>
    'Once upon a| time': [1, 403, 407, 261, 378],
    'The movie was great.| It was': [1, 291, 284, 414, 435, 417, 411, 286, 298, 276, 294, 426, 359, 413, 286],
}


def main():
    folder = sys.argv[1] + '/stories260K.derived.'
    config = transformers.LlamaConfig(**json.load(open(folder + 'config.json')), attn_implementation='eager')
    model = transformers.LlamaForCausalLM(config).eval()
    missing, unexpected = model.load_state_dict(load_file(folder + 'safetensors'), strict=False)
    assert set(missing) <= {'lm_head.weight'} and not unexpected, (missing, unexpected)
    model.tie_weights()
    cases = []
    for name, ids in TEXTS.items():
        with torch.no_grad():
            hidden = model.model(torch.tensor([ids])).last_hidden_state[0, -1]
        body, cue = name.split('|')
        cases.append(dict(body=body, cue=cue, n_tokens=len(ids), hidden=[round(x, 7) for x in hidden.tolist()]))
    print(json.dumps(dict(versions=dict(python=platform.python_version(), torch=torch.__version__,
                                        transformers=transformers.__version__), cases=cases)))


main()
