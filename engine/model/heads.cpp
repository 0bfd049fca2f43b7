#include "engine/model/heads.h"

#include "engine/device/gemm.h"
#include "kernels/bias_gelu.h"
#include "kernels/bias_tanh.h"
#include "kernels/column_sum.h"
#include "kernels/cross_entropy.h"
#include "kernels/layer_norm.h"
#include "kernels/rows.h"

namespace cloze {

void masked_lm_forward(const Pass& pass, const Activations& activations) {
    const HeadActivations& heads = activations.heads;
    const ParameterView& weights = pass.weights;
    const ParameterTable& table = *weights.table;
    const Compute& compute = pass.compute;

    if (!activations.only_head_rows()) {
        rows_gather({.y = heads.masked,
                     .x = activations.sequence_output(),
                     .index = pass.batch.masked_row,
                     .used = &pass.batch.counts->masked},
                    compute);
    }
    gemm({.d = heads.transform, .a = heads.masked, .b = weights[table.transform.weight], .transpose_b = true}, compute);
    bias_gelu_forward({.y = heads.transform_norm.sum,
                       .x = heads.transform,
                       .bias = weights[table.transform.bias],
                       .form = pass.config.gelu()},
                      compute);
    layer_norm_forward({.y = heads.transformed,
                        .sum = heads.transform_norm.sum,
                        .mean = heads.transform_norm.mean,
                        .rstd = heads.transform_norm.rstd,
                        .x = heads.transform_norm.sum,
                        .bias = {},
                        .residual = {},
                        .gamma = weights[table.transform_norm.gamma],
                        .beta = weights[table.transform_norm.beta],
                        .epsilon = pass.config.layer_norm_eps},
                       compute);
    gemm({.d = heads.logits,
          .a = heads.transformed,
          .b = weights[table.word],
          .transpose_b = true,
          .bias = weights[table.decoder_bias]},
         compute);
    cross_entropy({.loss = heads.masked_loss,
                   .correct = heads.masked_correct,
                   .logits = heads.logits,
                   .label = pass.batch.masked_label,
                   .used = &pass.batch.counts->masked,
                   .scale = &pass.state->inverse_masked,
                   .classes = pass.config.vocab_size,
                   .gradient = pass.training},
                  compute);
}

void masked_lm_backward(const Pass& pass, const Activations& activations, const BackwardBuffers& buffers,
                        const ParameterView& gradients, bool accumulate) {
    const HeadActivations& heads = activations.heads;
    const ParameterView& weights = pass.weights;
    const ParameterTable& table = *weights.table;
    const Compute& compute = pass.compute;
    const std::int64_t rows = heads.masked.rows;
    const std::int64_t hidden = heads.masked.cols;
    const Tensor dlogits = heads.logits;

    column_sum({.sum = gradients[table.decoder_bias],
                .scratch = buffers.scratch.column_range(0, column_sum_scratch(rows, dlogits.cols)),
                .x = dlogits,
                .accumulate = accumulate},
               compute);
    gemm({.d = gradients[table.word],
          .a = dlogits,
          .b = heads.transformed,
          .transpose_a = true,
          .accumulate = accumulate},
         compute);
    gemm({.d = buffers.dmasked, .a = dlogits, .b = weights[table.word]}, compute);
    layer_norm_backward({.dx = buffers.dmasked,
                         .dresidual = {},
                         .dgamma = gradients[table.transform_norm.gamma],
                         .dbeta = gradients[table.transform_norm.beta],
                         .dbias = {},
                         .scratch = buffers.scratch.column_range(0, layer_norm_backward_scratch(rows, hidden)),
                         .dy = buffers.dmasked,
                         .sum = heads.transform_norm.sum,
                         .mean = heads.transform_norm.mean,
                         .rstd = heads.transform_norm.rstd,
                         .gamma = weights[table.transform_norm.gamma],
                         .accumulate = accumulate},
                        compute);
    bias_gelu_backward({.dx = buffers.dmasked,
                        .dbias = gradients[table.transform.bias],
                        .scratch = buffers.scratch.column_range(0, bias_gelu_backward_scratch(rows, hidden)),
                        .dy = buffers.dmasked,
                        .x = heads.transform,
                        .bias = weights[table.transform.bias],
                        .form = pass.config.gelu(),
                        .accumulate = accumulate},
                       compute);
    gemm({.d = gradients[table.transform.weight],
          .a = buffers.dmasked,
          .b = heads.masked,
          .transpose_a = true,
          .accumulate = accumulate},
         compute);
    gemm({.d = buffers.dmasked_branch, .a = buffers.dmasked, .b = weights[table.transform.weight]}, compute);
    if (activations.only_head_rows()) return;
    rows_scatter({.x = buffers.dhidden,
                  .y = buffers.dmasked_branch,
                  .index = pass.batch.masked_row,
                  .used = &pass.batch.counts->masked,
                  .accumulate = false},
                 compute);
}

void next_sentence_forward(const Pass& pass, const Activations& activations) {
    const HeadActivations& heads = activations.heads;
    const ParameterView& weights = pass.weights;
    const ParameterTable& table = *weights.table;
    const Compute& compute = pass.compute;

    if (!activations.only_head_rows()) {
        rows_gather({.y = heads.first,
                     .x = activations.sequence_output(),
                     .index = pass.batch.first_row,
                     .used = &pass.batch.counts->sequences},
                    compute);
    }
    gemm({.d = heads.pooled, .a = heads.first, .b = weights[table.pooler.weight], .transpose_b = true}, compute);
    bias_tanh_forward({.y = heads.pooled, .x = heads.pooled, .bias = weights[table.pooler.bias]}, compute);
    gemm({.d = heads.next_sentence_logits,
          .a = heads.pooled,
          .b = weights[table.next_sentence.weight],
          .transpose_b = true,
          .bias = weights[table.next_sentence.bias]},
         compute);
    cross_entropy({.loss = heads.next_sentence_loss,
                   .correct = heads.next_sentence_correct,
                   .logits = heads.next_sentence_logits,
                   .label = pass.batch.next_sentence_label,
                   .used = &pass.batch.counts->sequences,
                   .scale = &pass.state->inverse_sequences,
                   .classes = 2,
                   .gradient = pass.training},
                  compute);
}

void next_sentence_backward(const Pass& pass, const Activations& activations, const BackwardBuffers& buffers,
                            const ParameterView& gradients, bool accumulate) {
    const HeadActivations& heads = activations.heads;
    const ParameterView& weights = pass.weights;
    const ParameterTable& table = *weights.table;
    const Compute& compute = pass.compute;
    const std::int64_t rows = heads.first.rows;
    const std::int64_t hidden = heads.first.cols;
    const Tensor dlogits = heads.next_sentence_logits;

    column_sum({.sum = gradients[table.next_sentence.bias],
                .scratch = buffers.scratch.column_range(0, column_sum_scratch(rows, dlogits.cols)),
                .x = dlogits,
                .accumulate = accumulate},
               compute);
    gemm({.d = gradients[table.next_sentence.weight],
          .a = dlogits,
          .b = heads.pooled,
          .transpose_a = true,
          .accumulate = accumulate},
         compute);
    gemm({.d = buffers.dpooled, .a = dlogits, .b = weights[table.next_sentence.weight]}, compute);
    bias_tanh_backward({.dx = buffers.dpooled,
                        .dbias = gradients[table.pooler.bias],
                        .scratch = buffers.scratch.column_range(0, bias_tanh_backward_scratch(rows, hidden)),
                        .dy = buffers.dpooled,
                        .y = heads.pooled,
                        .accumulate = accumulate},
                       compute);
    gemm({.d = gradients[table.pooler.weight],
          .a = buffers.dpooled,
          .b = heads.first,
          .transpose_a = true,
          .accumulate = accumulate},
         compute);
    gemm({.d = buffers.dfirst, .a = buffers.dpooled, .b = weights[table.pooler.weight]}, compute);
    if (activations.only_head_rows()) return;
    rows_scatter({.x = buffers.dhidden,
                  .y = buffers.dfirst,
                  .index = pass.batch.first_row,
                  .used = &pass.batch.counts->sequences,
                  .accumulate = true},
                 compute);
}

}  // namespace cloze
