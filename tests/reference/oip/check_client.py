"""Asks a server of gdfo-scorer/1 with tritonclient; prints ok. usage: check_client.py HOST:PORT"""
import sys
import time

import numpy as np
import tritonclient.http as oip


def tensor(name, values, datatype, binary):
    t = oip.InferInput(name, list(values.shape), datatype)
    t.set_data_from_numpy(values, binary_data=binary)
    return t


def inputs(soft, texts, binary):
    words = np.array([s.encode() for s in texts], dtype=np.object_)
    return [tensor('soft_prompt', soft, 'FP32', binary), tensor('text', words, 'BYTES', binary),
            tensor('cue', np.array([b' It was'], dtype=np.object_), 'BYTES', binary),
            tensor('label_ids', np.array([5, 6, 7, 8], dtype=np.int32), 'INT32', binary)]


def main():
    client = oip.InferenceServerClient(sys.argv[1], connection_timeout=60, network_timeout=60)
    end = time.monotonic() + 60
    assert client.is_server_live()
    while not (client.is_server_ready() and client.is_model_ready('local')):
        assert time.monotonic() < end, 'not ready within a minute'
        time.sleep(0.05)
    assert client.is_model_ready('local', model_version='1')
    assert client.get_server_metadata()['extensions'] == ['binary_tensor_data']
    about = client.get_model_metadata('local')
    width = about['inputs'][0]['shape'][-1]
    assert about['platform'] == 'gdfo' and width == 64, about

    rng = np.random.default_rng(7)
    texts = ['The sun was warm.', 'He lost his toy – and cried.']
    parameters = {'contract': 'gdfo-scorer/1', 'position': 'suffix'}
    for soft in (rng.standard_normal((3, width), dtype=np.float32), rng.standard_normal((2, 3, width), dtype=np.float32),
                 np.zeros((0, width), dtype=np.float32)):
        seen = []
        for binary_in in (False, True):
            for binary_out in (False, True):
                names = ['label_logprobs', 'hidden', 'tokens_used'] + (['logits'] if binary_out else [])
                answer = client.infer('local', inputs(soft, texts, binary_in), request_id='a-1', parameters=parameters,
                                      outputs=[oip.InferRequestedOutput(n, binary_data=binary_out) for n in names])
                assert answer.get_response()['id'] == 'a-1'
                seen.append([answer.as_numpy(n) for n in names[:3]])
        lead = soft.shape[:-2]
        assert seen[0][0].shape == (*lead, 2, 4) and seen[0][1].shape == (*lead, 2, width), [x.shape for x in seen[0]]
        for other in seen[1:]:
            for a, b in zip(seen[0], other):
                assert np.array_equal(a.astype(np.float32), b.astype(np.float32))
        logits = answer.as_numpy('logits').astype(np.float64)
        lp = logits - np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1, keepdims=True)) - logits.max(-1, keepdims=True)
        assert np.abs(lp[..., 5:9] - seen[0][0]).max() < 1e-4
    everything = client.infer('local', inputs(soft, texts, True), parameters=parameters)    # all outputs, binary
    assert everything.as_numpy('label_logprobs').shape == (2, 4)

    try:
        client.infer('local', inputs(np.zeros((1, width + 1), dtype=np.float32), texts, True), parameters=parameters)
    except oip.InferenceServerException as e:
        assert 'width 65' in e.message(), e.message()
    else:
        raise AssertionError('rows of a wrong width were taken')
    client.close()
    print('ok')


if __name__ == '__main__':
    main()
