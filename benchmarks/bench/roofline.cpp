#include "benchmarks/bench/roofline.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>

namespace cloze::bench {

namespace {

constexpr double kWidth = 1440, kTop = 96, kLeft = 84, kPlotRight = 800, kLabelLeft = 884;
constexpr double kLabelStep = 17, kLeastPlotHeight = 480, kBottom = 60;
constexpr const char* kColors[] = {"#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e",
                                   "#17becf", "#8c564b", "#d0559f", "#7f7f7f", "#7a7a00"};

std::string number(double value) {
    char buffer[32];
    std::snprintf(buffer, sizeof buffer, "%.1f", value);
    return buffer;
}

std::string escaped(const std::string& text) {
    std::string out;
    for (const char c : text) {
        if (c == '&') {
            out += "&amp;";
        } else if (c == '<') {
            out += "&lt;";
        } else if (c == '>') {
            out += "&gt;";
        } else {
            out += c;
        }
    }
    return out;
}

struct Point {
    double x, y;
};

std::string line(Point a, Point b, const std::string& style) {
    return "<line x1=\"" + number(a.x) + "\" y1=\"" + number(a.y) + "\" x2=\"" + number(b.x) + "\" y2=\"" +
           number(b.y) + "\" " + style + "/>\n";
}

std::string label(Point at, const std::string& text, const std::string& style = "") {
    return "<text x=\"" + number(at.x) + "\" y=\"" + number(at.y) + "\" " + style + ">" + escaped(text) + "</text>\n";
}

/// One kernel of the picture.
struct Dot {
    const Row* row;
    double intensity;  // FLOP a byte
    double speed;      // GFLOP/s: measured, or that of the roof
    const char* color;
};

/// Powers of ten that hold the values.
struct Decades {
    int low = 0, high = 1;
    void hold(double value) {
        low = std::min(low, static_cast<int>(std::floor(std::log10(value))));
        high = std::max(high, static_cast<int>(std::ceil(std::log10(value))));
    }
    double place(double value) const { return (std::log10(value) - low) / (high - low); }
};

struct Picture {
    const Ceilings& ceilings;
    std::vector<Dot> dots;
    std::vector<const Row*> without_arithmetic;
    Decades x, y;
    double height = kLeastPlotHeight;

    double roof(double intensity) const { return std::min(ceilings.copy * intensity, ceilings.matmul) * 1e-9; }
    Point at(double intensity, double speed) const {
        return {kLeft + x.place(intensity) * (kPlotRight - kLeft), kTop + height - y.place(speed) * height};
    }
    double bottom() const { return kTop + height; }
};

/// What the picture shows. Products have tables of their own.
std::vector<const Row*> rows_in_picture(const Report& report) {
    std::vector<const Row*> rows;
    for (const Section& section : report.sections) {
        if (section.kind != TableKind::kernels) continue;
        for (const Row* row : largest_rows(section, report.ceilings)) {
            if (row->measured() || row->status == kNotMeasured) rows.push_back(row);
        }
    }
    return rows;
}

Picture picture_of(const Report& report) {
    Picture picture{report.ceilings, {}, {}, {}, {}};
    std::map<std::string, const char*> colors;
    for (const Row* row : rows_in_picture(report)) {
        if (row->cost.flops == 0) {
            picture.without_arithmetic.push_back(row);
            continue;
        }
        const char* next = kColors[colors.size() % std::size(kColors)];
        const char* color = colors.emplace(row->op, next).first->second;
        const double intensity = static_cast<double>(row->cost.flops) / static_cast<double>(row->cost.bytes);
        const double speed = row->measured() ? static_cast<double>(row->cost.flops) / row->timing.median * 1e-9
                                             : picture.roof(intensity);
        picture.dots.push_back({row, intensity, speed, color});
    }
    const double ridge = report.ceilings.matmul / report.ceilings.copy;
    picture.x = {0, 1};
    picture.x.hold(2 * ridge);
    picture.y = {static_cast<int>(std::floor(std::log10(report.ceilings.matmul * 1e-9))), 0};
    picture.y.hold(report.ceilings.matmul * 1e-9);
    for (const Dot& dot : picture.dots) {
        picture.x.hold(dot.intensity);
        picture.y.hold(dot.speed);
    }
    picture.y.hold(picture.roof(std::pow(10.0, picture.x.low)));
    // Labels go from the highest dot to the lowest, so that few of their lines cross.
    std::stable_sort(picture.dots.begin(), picture.dots.end(),
                     [](const Dot& a, const Dot& b) { return a.speed > b.speed; });
    const std::size_t labels = picture.dots.size() + picture.without_arithmetic.size() + 2;
    picture.height = std::max(kLeastPlotHeight, kLabelStep * static_cast<double>(labels));
    return picture;
}

std::string power_of_ten(int exponent) {
    const std::string zeros(static_cast<std::size_t>(exponent < 0 ? -exponent - 1 : exponent), '0');
    return exponent < 0 ? text("0.", zeros, "1") : text("1", zeros);
}

std::string axes(const Picture& picture) {
    std::string out;
    const std::string grid = "stroke=\"#dddddd\"";
    for (int exponent = picture.x.low; exponent <= picture.x.high; ++exponent) {
        const double x = picture.at(std::pow(10.0, exponent), 1).x;
        out += line({x, kTop}, {x, picture.bottom()}, grid);
        out += label({x, picture.bottom() + 18}, power_of_ten(exponent), "text-anchor=\"middle\"");
    }
    for (int exponent = picture.y.low; exponent <= picture.y.high; ++exponent) {
        const double y = picture.at(1, std::pow(10.0, exponent)).y;
        out += line({kLeft, y}, {kPlotRight, y}, grid);
        out += label({kLeft - 8, y + 4}, power_of_ten(exponent), "text-anchor=\"end\"");
    }
    out += label({(kLeft + kPlotRight) / 2, picture.bottom() + 38}, "arithmetic intensity, FLOP a byte",
                 "text-anchor=\"middle\"");
    out += label({kLeft, kTop - 10}, "GFLOP/s");
    return out;
}

std::string roofs(const Picture& picture) {
    const Ceilings& ceilings = picture.ceilings;
    const double ridge = ceilings.matmul / ceilings.copy;
    const double left = std::pow(10.0, picture.x.low), right = std::pow(10.0, picture.x.high);
    const std::string style = "stroke=\"#222222\" stroke-width=\"1.6\"";
    const Point corner = picture.at(ridge, picture.roof(ridge));
    std::string out = line(picture.at(left, picture.roof(left)), corner, style);
    out += line(corner, picture.at(right, picture.roof(right)), style);
    const auto source = [](bool measured) { return measured ? ", measured" : ", of an H200"; };
    const Point middle = picture.at(std::sqrt(left * ridge), picture.roof(std::sqrt(left * ridge)));
    out += label({middle.x - 12, middle.y - 12},
                 "copy " + number(ceilings.copy * 1e-12) + " TB/s" + source(ceilings.copy_measured),
                 "text-anchor=\"end\" font-weight=\"bold\"");
    out += label({kPlotRight - 4, corner.y - 8},
                 "product " + number(ceilings.matmul * 1e-12) + " TFLOP/s" + source(ceilings.matmul_measured),
                 "text-anchor=\"end\" font-weight=\"bold\"");
    return out;
}

std::string name_of(const Row& row) {
    return row.op + (row.variant.empty() ? "" : " (" + row.variant + ")") + " " + row.shape;
}

std::string percent_of_limit(const Row& row, const Ceilings& ceilings) {
    if (!row.measured()) return row.status;
    return number(100 * ceilings.limit(row.cost) / row.timing.median) + " %";
}

std::string dots(const Picture& picture) {
    std::string leaders, marks, labels;
    double y = kTop + 10;
    for (const Dot& dot : picture.dots) {
        const Row& row = *dot.row;
        const Point at = picture.at(dot.intensity, dot.speed);
        const std::string color = dot.color;
        leaders += line(at, {kLabelLeft - 6, y - 4}, "stroke=\"" + color + "\" stroke-opacity=\"0.35\"");
        marks += "<circle cx=\"" + number(at.x) + "\" cy=\"" + number(at.y) + "\" r=\"4.5\" stroke=\"" + color +
                 "\" fill=\"" + (row.measured() ? color : "#ffffff") + "\"/>\n";
        labels += label({kLabelLeft, y}, name_of(row) + ": " + percent_of_limit(row, picture.ceilings),
                        "fill=\"" + color + "\"");
        y += kLabelStep;
    }
    if (!picture.without_arithmetic.empty()) {
        y += kLabelStep;
        labels += label({kLabelLeft, y}, "without arithmetic, so not in the picture", "font-weight=\"bold\"");
    }
    for (const Row* row : picture.without_arithmetic) {
        y += kLabelStep;
        labels += label({kLabelLeft, y}, name_of(*row) + ": " + percent_of_limit(*row, picture.ceilings));
    }
    return leaders + marks + labels;
}

}  // namespace

std::string roofline_svg(const Report& report) {
    const Picture picture = picture_of(report);
    const double height = picture.bottom() + kBottom;
    std::string out = "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"" + number(kWidth) + "\" height=\"" +
                      number(height) + "\" font-family=\"sans-serif\" font-size=\"12\" fill=\"#222222\">\n" +
                      "<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n";
    out += label({kLeft, 28}, "Kernels under the roofs of: " + report.facts.device, "font-size=\"17\"");
    out += label({kLeft, 50}, report.facts.date + ", commit " + report.facts.commit + ", " + report.facts.command);
    out += label({kLabelLeft, kTop - 10}, "kernel, largest shape: part of its limit", "font-weight=\"bold\"");
    out += axes(picture) + roofs(picture) + dots(picture);
    return out + "</svg>\n";
}

}  // namespace cloze::bench
