#include "engine/model/weights_file.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>
#include <set>

#include "engine/files/json.h"
#include "kernels/cast.h"

namespace cloze {
namespace {

namespace fs = std::filesystem;

const std::string kWordTable = "bert.embeddings.word_embeddings.weight";
const std::string kDecoderWeight = "cls.predictions.decoder.weight";
const std::string kDecoderBias = "cls.predictions.decoder.bias";
const std::string kPredictionsBias = "cls.predictions.bias";

bool replace_suffix(std::string& name, const std::string& from, const std::string& to) {
    if (!name.ends_with(from)) return false;
    name.replace(name.size() - from.size(), from.size(), to);
    return true;
}

/// The HuggingFace key a stored name stands for.
std::string canonical_name(std::string name, bool plain_bert) {
    while (name.starts_with("module.")) name.erase(0, 7);
    replace_suffix(name, "LayerNorm.gamma", "LayerNorm.weight");
    replace_suffix(name, "LayerNorm.beta", "LayerNorm.bias");
    const bool headless =
        name.starts_with("embeddings.") || name.starts_with("encoder.") || name.starts_with("pooler.");
    if (plain_bert && headless) name = "bert." + name;
    return name;
}

struct Source {
    const SafetensorsReader* file;
    const StoredTensor* tensor;
};

std::vector<SafetensorsReader> open_files(const fs::path& folder) {
    std::vector<SafetensorsReader> files;
    const fs::path single = folder / "model.safetensors";
    const fs::path index = folder / "model.safetensors.index.json";
    if (fs::exists(single)) {
        files.emplace_back(single);
    } else if (fs::exists(index)) {
        const Json json = read_json(index);
        std::set<std::string> names;
        const JsonObject map = JsonObject(json, index.string()).require_object("weight_map");
        for (const std::string& key : map.keys()) names.insert(map.require<std::string>(key));
        for (const std::string& name : names) {
            require_input(fs::path(name).filename() == name, index.string(), ": \"", name, "\" is not a file name");
            files.emplace_back(folder / name);
        }
    } else if (fs::exists(folder / "pytorch_model.bin")) {
        fail(Fault::input, folder.string(),
             " holds pytorch_model.bin, a Python pickle, which this program does not run; ",
             "convert it once with transformers: save_pretrained(..., safe_serialization=True)");
    } else {
        fail(Fault::input, folder.string(),
             ": no model.safetensors there; name a folder that pretrain or save_pretrained "
             "has written");
    }
    return files;
}

std::map<std::string, Source> collect(const std::vector<SafetensorsReader>& files, LoadReport& report) {
    std::map<std::string, Source> sources;
    std::int64_t renamed = 0;
    for (const SafetensorsReader& file : files) {
        for (const StoredTensor& tensor : file.tensors()) {
            const std::string name = canonical_name(tensor.name, true);
            renamed += name != tensor.name ? 1 : 0;
            require_input(sources.emplace(name, Source{&file, &tensor}).second, file.name(), ": ", name,
                          " is stored twice, under two spellings");
        }
    }
    if (renamed > 0) report.notes.push_back(text(renamed, " tensors carry older or prefixed names and were renamed"));
    return sources;
}

/// A table may have more rows in the file than the vocabulary: padding, which is cut.
void require_shape(const Source& source, const Parameter& row, LoadReport& report) {
    const std::vector<std::int64_t>& shape = source.tensor->shape;
    std::vector<std::int64_t> expected = {row.rows};
    if (row.rank == 2) expected.push_back(row.cols);
    if (shape == expected) return;
    const bool may_be_padded = row.padded_rows != row.rows || row.name == kWordTable || row.name == kPredictionsBias;
    const bool same_but_rows = shape.size() == expected.size() && (row.rank == 1 || shape[1] == expected[1]);
    if (may_be_padded && same_but_rows && shape[0] > expected[0]) {
        report.notes.push_back(text(row.name, ": ", shape[0] - expected[0], " padding rows of the file were cut"));
        return;
    }
    fail(Fault::input, source.file->name(), ": ", row.name, " is ", source.tensor->describe(),
         ", but config.json asks for [", row.rows, row.rank == 2 ? text(", ", row.cols) : std::string(), "]");
}

void copy_row(const Source& source, const ParameterView& weights, const Parameter& row) {
    const Tensor place = weights.flat.column_range(row.offset, row.count());
    const Tensor padding = weights.flat.column_range(row.offset + row.count(), (row.padded_rows - row.rows) * row.cols);
    fill({.y = padding, .value = 0}, {});
    if (place.dtype == DType::f32) {
        source.file->copy_as_f32(*source.tensor, {place.data<float>(), static_cast<std::size_t>(row.count())});
        return;
    }
    if (source.tensor->type == StoredType::F64) {
        source.file->copy<double>(*source.tensor, {place.data<double>(), static_cast<std::size_t>(row.count())});
        return;
    }
    std::vector<float> values(static_cast<std::size_t>(row.count()));
    source.file->copy_as_f32(*source.tensor, values);
    std::copy(values.begin(), values.end(), place.data<double>());
}

/// Equal as f32 over the rows that both have: other types and padding make no difference.
bool same_values(const Source& a, const Source& b) {
    constexpr std::int64_t kPiece = 1 << 16;
    const std::vector<std::int64_t>&left = a.tensor->shape, &right = b.tensor->shape;
    if (left.empty() || right.empty()) return false;
    if (!std::equal(left.begin() + 1, left.end(), right.begin() + 1, right.end())) return false;
    const std::int64_t count = std::min(a.tensor->count(), b.tensor->count());
    std::vector<float> a_values, b_values;
    for (std::int64_t first = 0; first < count; first += kPiece) {
        a_values.resize(static_cast<std::size_t>(std::min(kPiece, count - first)));
        b_values.resize(a_values.size());
        a.file->copy_as_f32(*a.tensor, a_values, first);
        b.file->copy_as_f32(*b.tensor, b_values, first);
        if (a_values != b_values) return false;
    }
    return true;
}

/// The decoder's tensor `copy` is tied to `name`, and may be stored too, or instead.
void tie(const std::string& copy, const std::string& name, std::map<std::string, Source>& sources, LoadReport& report) {
    const auto stored = sources.extract(copy);
    if (stored.empty()) return;
    const auto [found, alone] = sources.emplace(name, stored.mapped());
    if (alone) {
        report.notes.push_back(text(name, " is taken from ", copy, ", to which it is tied"));
    } else if (!same_values(stored.mapped(), found->second)) {
        report.notes.push_back(text(copy, " differs from ", name, ", which is used for both"));
    }
}

bool is_head(const std::string& name) {
    return name.starts_with("cls.") || name.starts_with("bert.pooler.");
}

/// The number of the layer that a tensor belongs to; -1: of none.
int layer_of(const std::string& name) {
    const std::string prefix = "bert.encoder.layer.";
    if (!name.starts_with(prefix)) return -1;
    int number = -1;
    std::from_chars(name.data() + prefix.size(), name.data() + name.size(), number);
    return number;
}

std::string joined(const std::vector<std::string>& names) {
    constexpr std::size_t kShown = 8;
    std::string list;
    for (std::size_t i = 0; i < std::min(names.size(), kShown); ++i) list += (list.empty() ? "" : ", ") + names[i];
    return names.size() > kShown ? text(list, " and ", names.size() - kShown, " more") : list;
}

/// Throws unless the embeddings and layers of the model are there, and no other layers: an encoder of which some
/// weights are random, or some left out, is of no use.
void require_encoder(const fs::path& folder, const std::map<std::string, Source>& sources,
                     const ParameterTable& table) {
    std::set<std::string> wanted;
    std::vector<std::string> lacking, foreign;
    for (const Parameter& row : table.rows) {
        wanted.insert(row.name);
        if (!is_head(row.name) && sources.find(row.name) == sources.end()) lacking.push_back(row.name);
    }
    bool any = false;
    std::int64_t layers = 0;
    for (const auto& [name, source] : sources) {
        any = any || wanted.count(name) != 0;
        layers = std::max<std::int64_t>(layers, layer_of(name) + std::int64_t{1});
        if (layer_of(name) >= 0 && wanted.count(name) == 0) foreign.push_back(name);
    }
    require_input(any, folder.string(), ": holds no tensor of a BERT encoder under the names HuggingFace uses");
    require_input(layers == static_cast<std::int64_t>(table.layers.size()), folder.string(), ": the checkpoint has ",
                  layers, " layers, the model ", table.layers.size(),
                  "; take the configuration that belongs to it: --model ", (folder / "config.json").string());
    require_input(lacking.empty(), folder.string(), ": the checkpoint lacks ", joined(lacking),
                  "; only heads can be initialised: name a checkpoint of the whole encoder");
    require_input(foreign.empty(), folder.string(), ": the model has no place for ", joined(foreign),
                  "; name a checkpoint of BERT as it was published");
}

}  // namespace

LoadReport load_weights(const fs::path& folder, const ParameterView& weights, const MissingHeads& heads) {
    LoadReport report;
    const std::vector<SafetensorsReader> files = open_files(folder);
    std::map<std::string, Source> sources = collect(files, report);
    tie(kDecoderWeight, kWordTable, sources, report);
    tie(kDecoderBias, kPredictionsBias, sources, report);
    require_encoder(folder, sources, *weights.table);
    for (std::size_t i = 0; i < weights.table->rows.size(); ++i) {
        const Parameter& row = weights.table->rows[i];
        const auto found = sources.find(row.name);
        if (found == sources.end()) {
            initialize_row(weights, static_cast<int>(i), heads.initializer_range, heads.seed, heads.kind);
            report.missing.push_back(row.name);
            continue;
        }
        require_shape(found->second, row, report);
        copy_row(found->second, weights, row);
        sources.erase(found);
    }
    for (const auto& [name, source] : sources) {
        if (name.ends_with("embeddings.position_ids")) continue;  // a buffer of old versions
        report.unused.push_back(source.tensor->name);
    }
    require_input(!heads.refuse || report.missing.empty(), folder.string(),
                  ": these parameters are missing: ", joined(report.missing),
                  "; load a checkpoint that has them, or allow them to be initialised");
    return report;
}

std::vector<TensorToStore> tensors_to_store(const ParameterView& view, const std::string& prefix) {
    std::vector<TensorToStore> tensors;
    for (const Parameter& row : view.table->rows) {
        const Tensor values = view.flat.column_range(row.offset, row.count());
        std::vector<std::int64_t> shape = {row.rows};
        if (row.rank == 2) shape.push_back(row.cols);
        tensors.push_back(tensor_to_store<float>(prefix + row.name, shape,
                                                 {values.data<float>(), static_cast<std::size_t>(row.count())}));
    }
    return tensors;
}

void load_exactly(const SafetensorsReader& file, const ParameterView& view, const std::string& prefix) {
    for (const Parameter& row : view.table->rows) {
        const StoredTensor& tensor = file.require(prefix + row.name);
        std::vector<std::int64_t> shape = {row.rows};
        if (row.rank == 2) shape.push_back(row.cols);
        require_input(tensor.shape == shape && tensor.type == StoredType::F32, file.name(), ": ", tensor.name, " is ",
                      tensor.describe(), ", which does not fit this model");
        const Tensor values = view.flat.column_range(row.offset, row.count());
        file.copy<float>(tensor, {values.data<float>(), static_cast<std::size_t>(row.count())});
    }
}

LoadedModel::LoadedModel(const fs::path& folder, bool next_sentence)
    : config_(read_config(folder / "config.json")),
      table_(parameter_table(config_)),
      memory_(table_.elements * size_of(DType::f32), (folder / "config.json").string() + ": the model",
              "correct the file, or take a smaller model") {
    LoadReport report = load_weights(folder, weights(), {.refuse = false});
    if (!next_sentence) {
        std::erase_if(report.missing, [](const std::string& name) {
            return name.starts_with("bert.pooler.") || name.starts_with("cls.seq_relationship.");
        });
    }
    require_input(
        report.missing.empty(), folder.string(), ": lacks ", joined(report.missing),
        ", which this needs; name a checkpoint of BertForPreTraining, or train one with pretrain --init-from");
}

}  // namespace cloze
