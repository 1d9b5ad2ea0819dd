"""Forward and backward pass of gru, line by line.

Written by handgrad; every gradient was compared with autograd's, at two sets of sizes.
"""

import torch


def forward(series, Wx, Wh, Wn, b, Wy, n_hidden):
    if [t.ndim for t in (series, Wx, Wh, Wn, b, Wy)] != [3, 2, 2, 2, 1, 2]:
        raise ValueError('this file was written for series.ndim == 3, Wx.ndim == 2, Wh.ndim == 2 and 3 more')
    if series.shape[1] != 6:
        raise ValueError('this file was written for series.shape[1] == 6: the forward pass loops over it (line 33)')
    inputs = series[:, :-1]  # [3, 5, 2]
    targets = series[:, 1:]  # [3, 5, 2]
    h = torch.zeros(series.shape[0], Wn.shape[0])  # [3, 7]
    x = inputs.unbind(dim=1)[0]  # [3, 2]
    x_1 = inputs.unbind(dim=1)[1]  # [3, 2]
    x_2 = inputs.unbind(dim=1)[2]  # [3, 2]
    x_3 = inputs.unbind(dim=1)[3]  # [3, 2]
    x_4 = inputs.unbind(dim=1)[4]  # [3, 2]
    xr, xz, xn = (x @ Wx + b).split(n_hidden, dim=1)  # [3, 7], [3, 7], [3, 7]
    hr, hz = (h @ Wh).split(n_hidden, dim=1)  # [3, 7], [3, 7]
    r = torch.sigmoid(xr + hr)  # [3, 7]
    z = torch.sigmoid(xz + hz)  # [3, 7]
    n = torch.tanh(xn + r * h @ Wn)  # [3, 7]
    h_1 = (1 - z) * n + z * h  # [3, 7]
    xr_1, xz_1, xn_1 = (x_1 @ Wx + b).split(n_hidden, dim=1)  # [3, 7], [3, 7], [3, 7]
    hr_1, hz_1 = (h_1 @ Wh).split(n_hidden, dim=1)  # [3, 7], [3, 7]
    r_1 = torch.sigmoid(xr_1 + hr_1)  # [3, 7]
    z_1 = torch.sigmoid(xz_1 + hz_1)  # [3, 7]
    n_1 = torch.tanh(xn_1 + r_1 * h_1 @ Wn)  # [3, 7]
    h_2 = (1 - z_1) * n_1 + z_1 * h_1  # [3, 7]
    xr_2, xz_2, xn_2 = (x_2 @ Wx + b).split(n_hidden, dim=1)  # [3, 7], [3, 7], [3, 7]
    hr_2, hz_2 = (h_2 @ Wh).split(n_hidden, dim=1)  # [3, 7], [3, 7]
    r_2 = torch.sigmoid(xr_2 + hr_2)  # [3, 7]
    z_2 = torch.sigmoid(xz_2 + hz_2)  # [3, 7]
    n_2 = torch.tanh(xn_2 + r_2 * h_2 @ Wn)  # [3, 7]
    h_3 = (1 - z_2) * n_2 + z_2 * h_2  # [3, 7]
    xr_3, xz_3, xn_3 = (x_3 @ Wx + b).split(n_hidden, dim=1)  # [3, 7], [3, 7], [3, 7]
    hr_3, hz_3 = (h_3 @ Wh).split(n_hidden, dim=1)  # [3, 7], [3, 7]
    r_3 = torch.sigmoid(xr_3 + hr_3)  # [3, 7]
    z_3 = torch.sigmoid(xz_3 + hz_3)  # [3, 7]
    n_3 = torch.tanh(xn_3 + r_3 * h_3 @ Wn)  # [3, 7]
    h_4 = (1 - z_3) * n_3 + z_3 * h_3  # [3, 7]
    xr_4, xz_4, xn_4 = (x_4 @ Wx + b).split(n_hidden, dim=1)  # [3, 7], [3, 7], [3, 7]
    hr_4, hz_4 = (h_4 @ Wh).split(n_hidden, dim=1)  # [3, 7], [3, 7]
    r_4 = torch.sigmoid(xr_4 + hr_4)  # [3, 7]
    z_4 = torch.sigmoid(xz_4 + hz_4)  # [3, 7]
    n_4 = torch.tanh(xn_4 + r_4 * h_4 @ Wn)  # [3, 7]
    h_5 = (1 - z_4) * n_4 + z_4 * h_4  # [3, 7]
    hs = torch.stack([h_1, h_2, h_3, h_4, h_5], dim=1)  # [3, 5, 7]
    preds = hs @ Wy  # [3, 5, 2]
    loss = ((preds - targets)**2).mean()  # []
    saved = (
        preds, targets, Wy, hs, h_4, n_4, z_4, Wn, r_4, Wh, h_3, n_3, z_3, r_3, h_2, n_2, z_2,
        r_2, h_1, n_1, z_1, r_1, h, n, z, r, x, x_1, x_2, x_4, x_3,
    )
    return loss, saved


def backward(dloss, saved):
    """Return the gradient of every leaf, given dloss."""
    (
        preds, targets, Wy, hs, h_4, n_4, z_4, Wn, r_4, Wh, h_3, n_3, z_3, r_3, h_2, n_2, z_2,
        r_2, h_1, n_1, z_1, r_1, h, n, z, r, x, x_1, x_2, x_4, x_3,
    ) = saved

    # loss = ((preds - targets)**2).mean()
    dpreds = 2 * (preds - targets) * (dloss / preds.numel())  # [3, 5, 2]

    # preds = hs @ Wy
    dhs = dpreds @ Wy.T  # [3, 5, 7]
    dWy = hs.flatten(end_dim=-2).T @ dpreds.flatten(end_dim=-2)  # [7, 2]

    # hs = torch.stack([h_1, h_2, h_3, h_4, h_5], dim=1)
    dh_5 = dhs[:, 4]  # [3, 7]

    # h_5 = (1 - z_4) * n_4 + z_4 * h_4
    dz_4 = dh_5 * h_4 - dh_5 * n_4  # [3, 7]
    dn_4 = dh_5 * (1 - z_4)  # [3, 7]

    # n_4 = torch.tanh(xn_4 + r_4 * h_4 @ Wn)
    dn_4_1 = dn_4 * (1 - n_4**2)  # [3, 7]
    dn_4_2 = dn_4_1 @ Wn.T  # [3, 7]
    dxn_4 = dn_4_1  # [3, 7]
    dr_4 = dn_4_2 * h_4  # [3, 7]

    # z_4 = torch.sigmoid(xz_4 + hz_4)
    dz_4_1 = dz_4 * (1 - z_4) * z_4  # [3, 7]
    dxz_4 = dz_4_1  # [3, 7]
    dhz_4 = dz_4_1  # [3, 7]

    # r_4 = torch.sigmoid(xr_4 + hr_4)
    dr_4_1 = dr_4 * (1 - r_4) * r_4  # [3, 7]
    dxr_4 = dr_4_1  # [3, 7]
    dhr_4 = dr_4_1  # [3, 7]

    # hr_4, hz_4 = (h_4 @ Wh).split(n_hidden, dim=1)
    dh_4 = dhs[:, 3] + dh_5 * z_4 + dn_4_2 * r_4 + torch.cat([dhr_4, dhz_4], dim=1) @ Wh.T  # [3, 7]

    # h_4 = (1 - z_3) * n_3 + z_3 * h_3
    dz_3 = dh_4 * h_3 - dh_4 * n_3  # [3, 7]
    dn_3 = dh_4 * (1 - z_3)  # [3, 7]

    # n_3 = torch.tanh(xn_3 + r_3 * h_3 @ Wn)
    dn_3_1 = dn_3 * (1 - n_3**2)  # [3, 7]
    dn_3_2 = dn_3_1 @ Wn.T  # [3, 7]
    dxn_3 = dn_3_1  # [3, 7]
    dr_3 = dn_3_2 * h_3  # [3, 7]

    # z_3 = torch.sigmoid(xz_3 + hz_3)
    dz_3_1 = dz_3 * (1 - z_3) * z_3  # [3, 7]
    dxz_3 = dz_3_1  # [3, 7]
    dhz_3 = dz_3_1  # [3, 7]

    # r_3 = torch.sigmoid(xr_3 + hr_3)
    dr_3_1 = dr_3 * (1 - r_3) * r_3  # [3, 7]
    dxr_3 = dr_3_1  # [3, 7]
    dhr_3 = dr_3_1  # [3, 7]

    # hr_3, hz_3 = (h_3 @ Wh).split(n_hidden, dim=1)
    dh_3 = dhs[:, 2] + dh_4 * z_3 + dn_3_2 * r_3 + torch.cat([dhr_3, dhz_3], dim=1) @ Wh.T  # [3, 7]

    # h_3 = (1 - z_2) * n_2 + z_2 * h_2
    dz_2 = dh_3 * h_2 - dh_3 * n_2  # [3, 7]
    dn_2 = dh_3 * (1 - z_2)  # [3, 7]

    # n_2 = torch.tanh(xn_2 + r_2 * h_2 @ Wn)
    dn_2_1 = dn_2 * (1 - n_2**2)  # [3, 7]
    dn_2_2 = dn_2_1 @ Wn.T  # [3, 7]
    dxn_2 = dn_2_1  # [3, 7]
    dr_2 = dn_2_2 * h_2  # [3, 7]

    # z_2 = torch.sigmoid(xz_2 + hz_2)
    dz_2_1 = dz_2 * (1 - z_2) * z_2  # [3, 7]
    dxz_2 = dz_2_1  # [3, 7]
    dhz_2 = dz_2_1  # [3, 7]

    # r_2 = torch.sigmoid(xr_2 + hr_2)
    dr_2_1 = dr_2 * (1 - r_2) * r_2  # [3, 7]
    dxr_2 = dr_2_1  # [3, 7]
    dhr_2 = dr_2_1  # [3, 7]

    # hr_2, hz_2 = (h_2 @ Wh).split(n_hidden, dim=1)
    dh_2 = dhs[:, 1] + dh_3 * z_2 + dn_2_2 * r_2 + torch.cat([dhr_2, dhz_2], dim=1) @ Wh.T  # [3, 7]

    # h_2 = (1 - z_1) * n_1 + z_1 * h_1
    dz_1 = dh_2 * h_1 - dh_2 * n_1  # [3, 7]
    dn_1 = dh_2 * (1 - z_1)  # [3, 7]

    # n_1 = torch.tanh(xn_1 + r_1 * h_1 @ Wn)
    dn_1_1 = dn_1 * (1 - n_1**2)  # [3, 7]
    dn_1_2 = dn_1_1 @ Wn.T  # [3, 7]
    dxn_1 = dn_1_1  # [3, 7]
    dr_1 = dn_1_2 * h_1  # [3, 7]

    # z_1 = torch.sigmoid(xz_1 + hz_1)
    dz_1_1 = dz_1 * (1 - z_1) * z_1  # [3, 7]
    dxz_1 = dz_1_1  # [3, 7]
    dhz_1 = dz_1_1  # [3, 7]

    # r_1 = torch.sigmoid(xr_1 + hr_1)
    dr_1_1 = dr_1 * (1 - r_1) * r_1  # [3, 7]
    dxr_1 = dr_1_1  # [3, 7]
    dhr_1 = dr_1_1  # [3, 7]

    # hr_1, hz_1 = (h_1 @ Wh).split(n_hidden, dim=1)
    dh_1 = dhs[:, 0] + dh_2 * z_1 + dn_1_2 * r_1 + torch.cat([dhr_1, dhz_1], dim=1) @ Wh.T  # [3, 7]

    # h_1 = (1 - z) * n + z * h
    dz = dh_1 * h - dh_1 * n  # [3, 7]
    dn = dh_1 * (1 - z)  # [3, 7]

    # n = torch.tanh(xn + r * h @ Wn)
    dn_5 = dn * (1 - n**2)  # [3, 7]
    dxn = dn_5  # [3, 7]
    dr = dn_5 @ Wn.T * h  # [3, 7]
    dWn = (
        (r_4 * h_4).T @ dn_4_1
        + (r_3 * h_3).T @ dn_3_1
        + (r_2 * h_2).T @ dn_2_1
        + (r_1 * h_1).T @ dn_1_1
        + (r * h).T @ dn_5
    )  # [7, 7]

    # z = torch.sigmoid(xz + hz)
    dz_5 = dz * (1 - z) * z  # [3, 7]
    dxz = dz_5  # [3, 7]
    dhz = dz_5  # [3, 7]

    # r = torch.sigmoid(xr + hr)
    dr_5 = dr * (1 - r) * r  # [3, 7]
    dxr = dr_5  # [3, 7]
    dhr = dr_5  # [3, 7]

    # hr, hz = (h @ Wh).split(n_hidden, dim=1)
    dWh = (
        h_4.T @ torch.cat([dhr_4, dhz_4], dim=1)
        + h_3.T @ torch.cat([dhr_3, dhz_3], dim=1)
        + h_2.T @ torch.cat([dhr_2, dhz_2], dim=1)
        + h_1.T @ torch.cat([dhr_1, dhz_1], dim=1)
        + h.T @ torch.cat([dhr, dhz], dim=1)
    )  # [7, 14]

    # xr, xz, xn = (x @ Wx + b).split(n_hidden, dim=1)
    dWx = (
        x_4.T @ torch.cat([dxr_4, dxz_4, dxn_4], dim=1)
        + x_3.T @ torch.cat([dxr_3, dxz_3, dxn_3], dim=1)
        + x_2.T @ torch.cat([dxr_2, dxz_2, dxn_2], dim=1)
        + x_1.T @ torch.cat([dxr_1, dxz_1, dxn_1], dim=1)
        + x.T @ torch.cat([dxr, dxz, dxn], dim=1)
    )  # [2, 21]
    db = (
        torch.cat([dxr_4, dxz_4, dxn_4], dim=1).sum(dim=0)
        + torch.cat([dxr_3, dxz_3, dxn_3], dim=1).sum(dim=0)
        + torch.cat([dxr_2, dxz_2, dxn_2], dim=1).sum(dim=0)
        + torch.cat([dxr_1, dxz_1, dxn_1], dim=1).sum(dim=0)
        + torch.cat([dxr, dxz, dxn], dim=1).sum(dim=0)
    )  # [21]

    return {"dWx": dWx, "dWh": dWh, "dWn": dWn, "db": db, "dWy": dWy}
