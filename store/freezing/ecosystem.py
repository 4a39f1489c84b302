"""Entries of the registry for packages of others: numpy, Arrow, pandas, Polars, scipy, torch.

Their names are here and their files beside this one; none of them is imported before one of its
objects is met.
"""

from icehouse.store.freezing import codes

# A type's name, as it is in an MRO -> the file of its family. numpy's texts come before
# builtins.str in their MRO.
FAMILIES = {
    **dict.fromkeys(
        (
            *("numpy.bytes_", "numpy.dtype", "numpy.generic", "numpy.ndarray", "numpy.str_"),
            *("numpy.ma.MaskedArray", "numpy.ma.core.MaskedArray"),
            "numpy.ma.core.MaskedConstant",
        ),
        "arrays",
    ),
    **dict.fromkeys(
        (
            *("pyarrow.lib.Array", "pyarrow.lib.Buffer", "pyarrow.lib.ChunkedArray"),
            *("pyarrow.lib.DataType", "pyarrow.lib.Field", "pyarrow.lib.RecordBatch"),
            *("pyarrow.lib.Scalar", "pyarrow.lib.Schema", "pyarrow.lib.Table"),
        ),
        "arrow",
    ),
    # Bases, since pandas has moved and renamed what it shows.
    **dict.fromkeys(
        (
            "pandas._libs.interval.IntervalMixin",
            "pandas._libs.missing.C_NAType",
            "pandas._libs.tslibs.nattype._NaT",
            "pandas._libs.tslibs.offsets.BaseOffset",
            "pandas._libs.tslibs.period._Period",
            "pandas._libs.tslibs.timedeltas._Timedelta",
            "pandas._libs.tslibs.timestamps._Timestamp",
            "pandas.api.extensions.ExtensionArray",
            "pandas.api.extensions.ExtensionDtype",
            "pandas.core.arrays.base.ExtensionArray",
            "pandas.core.base.PandasObject",
            "pandas.core.dtypes.base.ExtensionDtype",
        ),
        "frames",
    ),
    "polars.dataframe.frame.DataFrame": "polars_frames",
    "polars.lazyframe.frame.LazyFrame": "polars_frames",
    "polars.series.series.Series": "polars_frames",
    "scipy.sparse._base._spbase": "sparse",
    "torch.Size": "tensors",
    "torch.Tensor": "tensors",
    "torch.device": "tensors",
    "torch.dtype": "tensors",
}

# What knows which of its objects are immutable by nature.
FROZEN = {
    "numpy.dtype": "arrays",
    "numpy.generic": "arrays",
    "pandas._libs.missing.C_NAType": "frames",
    "pandas._libs.tslibs.nattype._NaT": "frames",
    "pandas._libs.tslibs.period._Period": "frames",
    "pandas._libs.tslibs.timedeltas._Timedelta": "frames",
    "pandas._libs.tslibs.timestamps._Timestamp": "frames",
}

OPENERS = {
    codes.NUMPY_SCALAR: ("arrays", "open_scalar"),
    codes.NDARRAY: ("arrays", "open_array"),
    codes.MASKED_ARRAY: ("arrays", "open_masked"),
    codes.ARROW: ("arrow", "open_arrow"),
    codes.PANDAS: ("frames", "open_pandas"),
    codes.POLARS: ("polars_frames", "open_polars"),
    codes.SPARSE: ("sparse", "open_sparse"),
    codes.TORCH: ("tensors", "open_tensor"),
}
THAWERS = {codes.NDARRAY: ("arrays", "thaw_array")}
