#include "engine/train/run_plan.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "engine/device/gemm.h"
#include "engine/device/gemm_speed.h"
#include "engine/device/host_memory.h"
#include "engine/files/write.h"
#include "engine/train/checkpoint.h"
#include "kernels/core/parallel.h"

namespace cloze {
namespace {

constexpr std::int64_t kTimedRows = 512;  // of the product that the estimate of time stands on
constexpr double kMostEpochs = 65'000;    // random numbers know 65,536 (kernels/core/random_stream.h)

void require_recipe(const RunRecipe& recipe, const RunHandling& handling) {
    const OptimizerRecipe& optimizer = recipe.optimizer;
    const Schedule& schedule = optimizer.schedule;
    require(schedule.total_steps >= 1, "--max-steps ", schedule.total_steps, ": at least 1");
    require(schedule.warmup_steps >= 0 && schedule.warmup_steps <= schedule.total_steps, "--warmup-steps ",
            schedule.warmup_steps, " is outside [0, --max-steps ", schedule.total_steps, "]");
    require(schedule.base > 0 && std::isfinite(schedule.base), "--learning-rate ", schedule.base, ": above 0");
    require(optimizer.beta1 >= 0 && optimizer.beta1 < 1, "--beta1 ", optimizer.beta1, " is outside [0, 1)");
    require(optimizer.beta2 >= 0 && optimizer.beta2 < 1, "--beta2 ", optimizer.beta2, " is outside [0, 1)");
    require(schedule.degree > 0 && std::isfinite(schedule.degree), "--poly-degree ", schedule.degree, ": above 0");
    require(optimizer.epsilon > 0 && std::isfinite(optimizer.epsilon), "--epsilon ", optimizer.epsilon, ": above 0");
    require(optimizer.weight_decay >= 0 && std::isfinite(optimizer.weight_decay), "--weight-decay ",
            optimizer.weight_decay, ": 0 or more");
    require(optimizer.max_gradient_norm >= 0, "--max-grad-norm ", optimizer.max_gradient_norm, ": 0 or more");
    require(handling.keep_checkpoints >= 1, "--keep-checkpoints ", handling.keep_checkpoints, ": at least 1");
    require(handling.log_every >= 1, "--log-every ", handling.log_every, ": at least 1");
    require(handling.save_every >= 0 && handling.evaluate_every >= 0,
            "--save-every and --evaluate-every: 0 (only at the end) or more");
    require(handling.stop_after_nonfinite >= 1, "stop_after_nonfinite ", handling.stop_after_nonfinite, ": at least 1");
    require(handling.profile_steps >= 0, "--profile ", handling.profile_steps, ": 0 or more steps");
    require(handling.profile_steps == 0 || handling.gpu, "--profile: only the kernels of a GPU can be profiled; use ",
            "--device cuda, or leave it off");
    require(handling.profile_steps == 0 || handling.profile_steps <= schedule.total_steps - kStepsBeforeProfile,
            "--profile ", handling.profile_steps, ": begins after ", kStepsBeforeProfile, " steps, and --max-steps is ",
            schedule.total_steps, "; use more steps, or profile fewer");
    require(!handling.output.empty(), "--output: name the folder of the run");
    require(recipe.precision == DType::bf16 || recipe.precision == DType::f32, "--precision ",
            name_of(recipe.precision), ": f32 or bf16");
    if (handling.gpu) require_device_recipe(recipe);
}

std::shared_ptr<const Sampler> sampler_of(const Dataset& dataset, Split split, const SampleSettings& settings) {
    return std::make_shared<const Sampler>(dataset.tokens(split), settings, token_roles(dataset.vocabulary()));
}

void fill_preflight(RunPlan& plan, const RunHandling& handling, const EpochPlan& epoch) {
    const DatasetInfo& info = plan.dataset->info();
    const Schedule& schedule = plan.recipe.optimizer.schedule;
    const StepShape& shape = plan.shape;
    const ParameterTable table = parameter_table(plan.recipe.model);
    Preflight& preflight = plan.preflight;
    preflight.parameters = table.parameter_count();
    preflight.training_documents = info.split(Split::train).documents;
    preflight.training_tokens = info.split(Split::train).tokens;
    preflight.held_out_documents = info.split(Split::held_out).documents;
    preflight.samples_per_epoch = static_cast<std::int64_t>(epoch.samples());
    preflight.mean_sequence_tokens = epoch.mean_length();
    preflight.micro_batches = shape.micro_batches;
    preflight.capacity = shape.capacity;
    preflight.sequences_per_step = shape.sequences_per_step;
    preflight.epochs =
        shape.sequences_per_step * static_cast<double>(schedule.total_steps) / static_cast<double>(epoch.samples());
    preflight.warmup_steps = schedule.warmup_steps;
    preflight.steps = schedule.total_steps;
    preflight.memory_bytes =
        Trainer::planned_bytes(plan.recipe.model, plan.trainer) + (plan.device ? Device::planned_bytes() : 0);
    preflight.checkpoint_bytes = checkpoint_bytes(table);
    preflight.free_bytes = free_space(handling.output);
    const double tokens = shape.sequences_per_step * epoch.mean_length();
    preflight.step_flops =
        step_flops(plan.recipe.model, shape.sequences_per_step, tokens, tokens * plan.recipe.samples.masked_lm_prob);
    preflight.matrix_library = plan.device ? plan.device->products().library() : host_gemm_library();
    if (plan.device) {
        preflight.device = plan.device->info().name;
    } else {
        const BertConfig& model = plan.recipe.model;
        preflight.least_seconds = static_cast<double>(schedule.total_steps) * preflight.step_flops /
                                  measured_gemm_flops_per_second(std::min(shape.capacity.tokens, kTimedRows),
                                                                 model.intermediate_size, model.hidden_size);
    }
    preflight.threads = thread_count();
}

void require_epochs(const Preflight& preflight) {
    require(preflight.epochs <= kMostEpochs, preflight.steps, " steps of ", preflight.sequences_per_step,
            " sequences are ", preflight.epochs, " epochs of ", preflight.samples_per_epoch, " samples, and at most ",
            kMostEpochs, " can be told apart; lower --max-steps, or prepare more text");
}

void require_device_memory(const Preflight& preflight, const RunPlan& plan) {
    const DeviceInfo& info = plan.device->info();
    // The device's own part is taken already.
    const std::int64_t needed = preflight.memory_bytes - Device::planned_bytes(), free = Device::free_bytes();
    if (needed <= free) return;
    const bool too_small = needed > info.memory_bytes;
    fail(Fault::device, "the run needs ", needed >> 20, " MiB of device memory and ", free >> 20, " of the ",
         info.memory_bytes >> 20, " MiB of ", info.name, " are free; ",
         too_small ? "" : "wait until others have left it, choose another with --device cuda:N, or ",
         "lower --micro-batch-tokens below ", plan.shape.capacity.tokens, " or take a smaller model (cloze plan says ",
         "what fits)");
}

void require_memory(const Preflight& preflight, const RunPlan& plan) {
    if (plan.device) return require_device_memory(preflight, plan);
    const std::int64_t available = available_host_bytes();
    if (preflight.memory_bytes <= available) return;
    fail(Fault::io, "the run needs ", preflight.memory_bytes >> 20, " MiB of memory and ", available >> 20,
         " MiB are left; take a smaller model, or --micro-batch-tokens below ", plan.shape.capacity.tokens);
}

void stage(const RunObserver& observer, const std::string& what) {
    if (observer.on_stage) observer.on_stage(what);
}

}  // namespace

RunPlan plan_run(const RunRecipe& recipe, const RunHandling& handling, const RunObserver& observer) {
    require_recipe(recipe, handling);
    set_thread_count(handling.threads);
    RunPlan plan;
    plan.recipe = recipe;
    if (handling.gpu) plan.device = std::make_shared<Device>(*handling.gpu);
    stage(observer, "verifying the data");
    plan.dataset = std::make_shared<const Dataset>(Dataset::open(recipe.data));
    plan.dataset->verify(thread_count());
    fit_vocabulary(plan.recipe.model, *plan.dataset, plan.preflight.notes);
    require_config(plan.recipe.model, "model");
    plan.sampler = sampler_of(*plan.dataset, Split::train, recipe.samples);
    if (plan.dataset->has(Split::held_out)) {
        plan.held_out = sampler_of(*plan.dataset, Split::held_out, recipe.samples);
    } else {
        plan.preflight.notes.push_back("the data has no held-out split: there will be no evaluation");
    }
    stage(observer, "planning the first epoch");
    const EpochPlan epoch(*plan.sampler, 0, thread_count());
    plan.shape = step_shape_of(plan.recipe, *plan.sampler, epoch);
    plan.limits = {.vocabulary_size = plan.recipe.model.vocab_size,
                   .positions = plan.recipe.model.max_position_embeddings};
    plan.trainer = trainer_options(plan.recipe, plan.shape, plan.device ? Place::device : Place::host);
    fill_preflight(plan, handling, epoch);
    require_epochs(plan.preflight);
    require_memory(plan.preflight, plan);
    return plan;
}

void require_device_recipe(const RunRecipe& recipe) {
    require(recipe.precision == DType::bf16, "--precision ", name_of(recipe.precision),
            ": devices train in bf16; use --precision bf16, or --device cpu");
    const BertConfig& model = recipe.model;
    require(model.head_dim() == 32 || model.head_dim() == 64, "the model's heads have ", model.head_dim(),
            " columns each, and devices have heads of 32 and 64; choose num_attention_heads so, or use --device cpu");
    require(model.intermediate_size % 8 == 0, "the model's intermediate_size ", model.intermediate_size,
            " is not a multiple of 8, which devices need; choose another, or use --device cpu");
}

void fit_vocabulary(BertConfig& model, const Dataset& data, std::vector<std::string>& notes) {
    const std::int64_t size = data.vocabulary().size();
    if (model.vocab_size != size) {
        notes.push_back(text("vocab_size ", model.vocab_size, " of the model becomes ", size, ", the vocabulary of ",
                             data.folder().string()));
        model.vocab_size = size;
    }
    model.pad_token_id = data.vocabulary().special().pad;
}

StepShape step_shape_of(const RunRecipe& recipe, const Sampler& sampler, const EpochPlan& epoch) {
    return derive_step_shape({.global_batch_size = recipe.global_batch_size,
                              .micro_batch_tokens = recipe.micro_batch_tokens,
                              .virtual_ranks = recipe.virtual_ranks,
                              .max_position_embeddings = recipe.model.max_position_embeddings},
                             sampler, epoch);
}

TrainerOptions trainer_options(const RunRecipe& recipe, const StepShape& shape, Place place) {
    return {.model = {.capacity = shape.capacity,
                      .working = recipe.precision,
                      .place = place,
                      .next_sentence = recipe.samples.next_sentence == NextSentence::nsp},
            .optimizer = recipe.optimizer,
            .seed = recipe.samples.seed,
            .micro_batches = shape.micro_batches,
            .virtual_ranks = recipe.virtual_ranks};
}

double step_flops(const BertConfig& config, double sequences, double tokens, double masked) {
    const double hidden = static_cast<double>(config.hidden_size);
    const double wide = static_cast<double>(config.intermediate_size);
    const double layers = static_cast<double>(config.num_hidden_layers);
    const double vocabulary = static_cast<double>(config.vocab_size);
    const double mean_length = sequences == 0 ? 0 : tokens / sequences;
    const double layer = tokens * (8 * hidden * hidden + 4 * hidden * wide) + 4 * tokens * mean_length * hidden;
    const double heads = 2 * masked * (hidden * hidden + hidden * vocabulary) + 2 * sequences * hidden * hidden;
    return 3 * (layers * layer + heads);
}

}  // namespace cloze
